// SPDX-License-Identifier: Apache-2.0
// SGX_IOC_ENCLAVE_MODIFY_TYPES (Linux: sgx_ioc_enclave_modify_types()).
#include "kernel/device/change_pages.h"
#include "kernel/device/command.h"
#include "kernel/encls.h"
#include "kernel/uapi/sgx.h"

namespace enclume::kernel {

namespace {

constexpr std::uint64_t kPageTypeMask = 0xff;

SysResult<void> modify_type(const Kernel& kernel, Enclave& enclave, std::uint64_t number, arch::PageType type,
                            std::uint64_t& leaf_code) noexcept {
  EnclavePage& page = enclave.page(number);
  PageState state = page.load();
  const bool from_reg = state.type == arch::PageType::Reg;
  const bool from_tcs = state.type == arch::PageType::Tcs;
  if (!from_reg && !(from_tcs && type == arch::PageType::Trim)) {
    return fail(Errno::Invalid);
  }
  if (from_reg && type == arch::PageType::Tcs) {
    // It can't become a regular page again, and a TCS is RW to the kernel; not more than was vetted.
    if (!state.max_prot.covers(kProtReadWrite)) {
      return fail(Errno::Perm);
    }
    state.max_prot = kProtReadWrite;
  }
  const auto leaf = Encls(kernel, enclave).emodt(number, type);
  if (!succeeded(leaf)) {
    if (leaf) {
      leaf_code = static_cast<std::uint64_t>(leaf->code);
    }
    return fail(Errno::Fault);
  }
  // sgx_zap_enclave_ptes() for what becomes a TCS; a page to trim keeps its PTE until REMOVE_PAGES.
  state.untouched = state.untouched || (type == arch::PageType::Tcs && kernel.maps_on_touch);
  state.type = type;
  page.store(state);
  return {};
}

}  // namespace

SysResult<long> ioctl_modify_types(const Kernel& kernel, Enclave& enclave, LinearAddress argument) noexcept {
  if (auto r = check_sgx2_ready(kernel, enclave); !r) {
    return fail(r.error());
  }
  uapi::EnclaveModifyTypes arg;
  if (!read_user(kernel, arg, argument)) {
    return fail(Errno::Fault);
  }
  if (auto r = check_range(enclave, arg.offset, arg.length); !r) {
    return fail(r.error());
  }
  if ((arg.page_type & ~kPageTypeMask) != 0) {
    return fail(Errno::Invalid);
  }
  if (arg.result != 0 || arg.count != 0) {
    return fail(Errno::Invalid);
  }

  const auto type = static_cast<arch::PageType>(arg.page_type);
  SysResult<void> result;
  std::uint64_t done = 0;
  if (type == arch::PageType::Tcs || type == arch::PageType::Trim) {
    result = change_pages(
        kernel, enclave, arg.offset / kPageSize, arg.length / kPageSize, done,
        [&](std::uint64_t page) { return modify_type(kernel, enclave, page, type, arg.result); });
  } else {
    result = fail(Errno::Invalid);
  }
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
