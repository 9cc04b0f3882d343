// SPDX-License-Identifier: Apache-2.0
// Our copy of the ABI against the machine's <asm/sgx.h>. No code comes out of this file.
#include <asm/sgx.h>

#include "kernel/uapi/sgx.h"

namespace enclume::kernel::uapi {
namespace {

#define SAME_SIZE(ours, theirs) \
  static_assert(sizeof(ours) == sizeof(theirs) && alignof(ours) == alignof(theirs))
#define SAME_FIELD(ours, theirs, field)                            \
  static_assert(offsetof(ours, field) == offsetof(theirs, field)); \
  static_assert(sizeof(ours::field) == sizeof(theirs::field))
#define SAME_NUMBER(ours, theirs) static_assert(static_cast<std::uint32_t>(Command::ours) == (theirs))

SAME_SIZE(EnclaveCreate, sgx_enclave_create);
SAME_FIELD(EnclaveCreate, sgx_enclave_create, src);

SAME_SIZE(EnclaveAddPages, sgx_enclave_add_pages);
SAME_FIELD(EnclaveAddPages, sgx_enclave_add_pages, src);
SAME_FIELD(EnclaveAddPages, sgx_enclave_add_pages, offset);
SAME_FIELD(EnclaveAddPages, sgx_enclave_add_pages, length);
SAME_FIELD(EnclaveAddPages, sgx_enclave_add_pages, secinfo);
SAME_FIELD(EnclaveAddPages, sgx_enclave_add_pages, flags);
SAME_FIELD(EnclaveAddPages, sgx_enclave_add_pages, count);
static_assert(kPageMeasure == SGX_PAGE_MEASURE);

SAME_SIZE(EnclaveInit, sgx_enclave_init);
SAME_FIELD(EnclaveInit, sgx_enclave_init, sigstruct);

SAME_SIZE(EnclaveProvision, sgx_enclave_provision);
SAME_FIELD(EnclaveProvision, sgx_enclave_provision, fd);

SAME_SIZE(EnclaveRestrictPermissions, sgx_enclave_restrict_permissions);
SAME_FIELD(EnclaveRestrictPermissions, sgx_enclave_restrict_permissions, offset);
SAME_FIELD(EnclaveRestrictPermissions, sgx_enclave_restrict_permissions, length);
SAME_FIELD(EnclaveRestrictPermissions, sgx_enclave_restrict_permissions, permissions);
SAME_FIELD(EnclaveRestrictPermissions, sgx_enclave_restrict_permissions, result);
SAME_FIELD(EnclaveRestrictPermissions, sgx_enclave_restrict_permissions, count);

SAME_SIZE(EnclaveModifyTypes, sgx_enclave_modify_types);
SAME_FIELD(EnclaveModifyTypes, sgx_enclave_modify_types, offset);
SAME_FIELD(EnclaveModifyTypes, sgx_enclave_modify_types, length);
SAME_FIELD(EnclaveModifyTypes, sgx_enclave_modify_types, page_type);
SAME_FIELD(EnclaveModifyTypes, sgx_enclave_modify_types, result);
SAME_FIELD(EnclaveModifyTypes, sgx_enclave_modify_types, count);

SAME_SIZE(EnclaveRemovePages, sgx_enclave_remove_pages);
SAME_FIELD(EnclaveRemovePages, sgx_enclave_remove_pages, offset);
SAME_FIELD(EnclaveRemovePages, sgx_enclave_remove_pages, length);
SAME_FIELD(EnclaveRemovePages, sgx_enclave_remove_pages, count);

SAME_NUMBER(Create, SGX_IOC_ENCLAVE_CREATE);
SAME_NUMBER(AddPages, SGX_IOC_ENCLAVE_ADD_PAGES);
SAME_NUMBER(Init, SGX_IOC_ENCLAVE_INIT);
SAME_NUMBER(Provision, SGX_IOC_ENCLAVE_PROVISION);
SAME_NUMBER(VepcRemoveAll, SGX_IOC_VEPC_REMOVE_ALL);
SAME_NUMBER(RestrictPermissions, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS);
SAME_NUMBER(ModifyTypes, SGX_IOC_ENCLAVE_MODIFY_TYPES);
SAME_NUMBER(RemovePages, SGX_IOC_ENCLAVE_REMOVE_PAGES);

}  // namespace
}  // namespace enclume::kernel::uapi
