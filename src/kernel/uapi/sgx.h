// SPDX-License-Identifier: Apache-2.0
// The ABI of /dev/sgx_enclave: what <asm/sgx.h> declares, without the kernel's headers. sgx_check.cc compares
// each size, offset and number with the real ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace enclume::kernel::uapi {

/// SGX_IOC_ENCLAVE_CREATE
struct EnclaveCreate {
  std::uint64_t src;  ///< address of the SECS
};

/// SGX_IOC_ENCLAVE_ADD_PAGES
struct EnclaveAddPages {
  std::uint64_t src;
  std::uint64_t offset;
  std::uint64_t length;
  std::uint64_t secinfo;  ///< address of a SECINFO
  std::uint64_t flags;    ///< bit 0: measure
  std::uint64_t count;    ///< out: bytes added
};
inline constexpr std::uint64_t kPageMeasure = 1;

/// SGX_IOC_ENCLAVE_INIT
struct EnclaveInit {
  std::uint64_t sigstruct;
};

/// SGX_IOC_ENCLAVE_PROVISION
struct EnclaveProvision {
  std::uint64_t fd;
};

/// SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS
struct EnclaveRestrictPermissions {
  std::uint64_t offset;
  std::uint64_t length;
  std::uint64_t permissions;
  std::uint64_t result;  ///< out: code of EMODPR
  std::uint64_t count;   ///< out: bytes changed
};

/// SGX_IOC_ENCLAVE_MODIFY_TYPES
struct EnclaveModifyTypes {
  std::uint64_t offset;
  std::uint64_t length;
  std::uint64_t page_type;
  std::uint64_t result;  ///< out: code of EMODT
  std::uint64_t count;   ///< out: bytes changed
};

/// SGX_IOC_ENCLAVE_REMOVE_PAGES
struct EnclaveRemovePages {
  std::uint64_t offset;
  std::uint64_t length;
  std::uint64_t count;  ///< out: bytes removed
};

/// ioctl numbers: direction in bits 31:30 (1 write, 2 read), size in 29:16, magic A4h in 15:8.
enum class Command : std::uint32_t {
  Create = 0x4008a400,
  AddPages = 0xc030a401,
  Init = 0x4008a402,
  Provision = 0x4008a403,
  VepcRemoveAll = 0x0000a404,
  RestrictPermissions = 0xc028a405,
  ModifyTypes = 0xc028a406,
  RemovePages = 0xc018a407,
};

}  // namespace enclume::kernel::uapi
