// SPDX-License-Identifier: Apache-2.0
// SGX_IOC_ENCLAVE_PROVISION (Linux: sgx_ioc_enclave_provision(), sgx_set_attribute()).
#include "arch/structs/attributes.h"
#include "kernel/device/command.h"
#include "kernel/uapi/sgx.h"

namespace enclume::kernel {

// Linux checks no state here, and CREATE sets the mask anew: before CREATE this succeeds and is lost.
SysResult<long> ioctl_provision(const Kernel& kernel, Enclave& enclave, LinearAddress argument) noexcept {
  uapi::EnclaveProvision arg;
  if (!read_user(kernel, arg, argument)) {
    return fail(Errno::Fault);
  }
  const auto fd = static_cast<int>(static_cast<std::uint32_t>(arg.fd));
  if (!kernel.platform.is_provision_device(fd)) {
    return fail(Errno::Invalid);
  }
  enclave.shared().attributes_mask.fetch_or(arch::attribute::kProvisionKey);
  return 0;
}

}  // namespace enclume::kernel
