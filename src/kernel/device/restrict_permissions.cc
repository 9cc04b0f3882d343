// SPDX-License-Identifier: Apache-2.0
// SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS (Linux: sgx_ioc_enclave_restrict_permissions()).
#include "kernel/device/change_pages.h"
#include "kernel/device/command.h"
#include "kernel/encls.h"
#include "kernel/uapi/sgx.h"

namespace enclume::kernel {

SysResult<long> ioctl_restrict_permissions(const Kernel& kernel, Enclave& enclave,
                                           LinearAddress argument) noexcept {
  if (auto r = check_sgx2_ready(kernel, enclave); !r) {
    return fail(r.error());
  }
  uapi::EnclaveRestrictPermissions arg;
  if (!read_user(kernel, arg, argument)) {
    return fail(Errno::Fault);
  }
  if (auto r = check_range(enclave, arg.offset, arg.length); !r) {
    return fail(r.error());
  }
  if ((arg.permissions & ~arch::secinfo_flags::kRwx) != 0) {
    return fail(Errno::Invalid);
  }
  if ((arg.permissions & arch::secinfo_flags::kW) != 0 && (arg.permissions & arch::secinfo_flags::kR) == 0) {
    return fail(Errno::Invalid);
  }
  if (arg.result != 0 || arg.count != 0) {
    return fail(Errno::Invalid);
  }

  const auto restrict_page = [&](std::uint64_t page) -> SysResult<void> {
    if (enclave.page(page).load().type != arch::PageType::Reg) {
      return fail(Errno::Invalid);
    }
    const auto leaf = Encls(kernel, enclave).emodpr(page, arg.permissions);
    if (succeeded(leaf)) {
      return {};
    }
    if (leaf) {
      arg.result = static_cast<std::uint64_t>(leaf->code);
    }
    return fail(Errno::Fault);
  };
  std::uint64_t done = 0;
  const auto result =
      change_pages(kernel, enclave, arg.offset / kPageSize, arg.length / kPageSize, done, restrict_page);
  arg.count = done * kPageSize;
  if (!write_user(kernel, argument, arg)) {
    return fail(Errno::Fault);
  }
  if (!result) {
    return fail(result.error());
  }
  return 0;
}

}  // namespace enclume::kernel
