// SPDX-License-Identifier: Apache-2.0
// SGX_IOC_ENCLAVE_REMOVE_PAGES (Linux: sgx_ioc_enclave_remove_pages(), sgx_encl_remove_pages()).
#include "kernel/device/command.h"
#include "kernel/enclave_lock.h"
#include "kernel/encls.h"
#include "kernel/paging_journal.h"
#include "kernel/resident_page.h"
#include "kernel/uapi/sgx.h"
#include "kernel/va_slots.h"

namespace enclume::kernel {

namespace {

/// The enclave has EACCEPTed the TRIM if EMODPR finds the page beyond it: #PF, where an unaccepted one gives
/// PAGE_NOT_MODIFIABLE.
bool trim_accepted(Encls& encls, std::uint64_t page) noexcept {
  return faulted_with(encls.emodpr(page, arch::secinfo_flags::kRwx), arch::Vector::PF);
}

SysResult<void> remove_page(const Kernel& kernel, Enclave& enclave, std::uint64_t number) noexcept {
  EpcReservation epc(kernel, enclave);
  EnclaveLock lock(kernel, enclave);
  if (!make_resident(kernel, enclave, lock, epc, number)) {
    return fail(Errno::Fault);
  }
  EnclavePage& page = enclave.page(number);
  if (page.load().type != arch::PageType::Trim) {
    return fail(Errno::Perm);
  }
  Encls encls(kernel, enclave);
  if (!trim_accepted(encls, number)) {
    return fail(Errno::Perm);
  }
  const Journaled journaled = Journaled::change(enclave, number);
  // Native permissions went with EMODT already, everywhere: a trimmed page has none.
  page.store({});
  enclave.index().erase(number);
  (void)encls.eremove(enclave.epc_page(number));  // of a TRIM page: succeeds even with threads inside
  kernel.platform.discard(enclave.epc_page(number).data, kPageSize);
  give_back_epc_page(kernel, enclave);
  enclave.shared().secs_children.fetch_sub(1);
  shrink(enclave);
  kernel.platform.count_pages(Platform::PageEvent::Removed, 1);
  return {};
}

}  // namespace

SysResult<long> ioctl_remove_pages(const Kernel& kernel, Enclave& enclave, LinearAddress argument) noexcept {
  if (auto r = check_sgx2_ready(kernel, enclave); !r) {
    return fail(r.error());
  }
  uapi::EnclaveRemovePages arg;
  if (!read_user(kernel, arg, argument)) {
    return fail(Errno::Fault);
  }
  if (auto r = check_range(enclave, arg.offset, arg.length); !r) {
    return fail(r.error());
  }
  if (arg.count != 0) {
    return fail(Errno::Invalid);
  }

  const std::uint64_t first = arg.offset / kPageSize;
  const std::uint64_t count = arg.length / kPageSize;
  SysResult<long> result = 0;
  std::uint64_t done = 0;
  for (; done < count; ++done) {
    if (auto r = remove_page(kernel, enclave, first + done); !r) {
      result = fail(r.error());
      break;
    }
  }
  arg.count = done * kPageSize;
  if (!write_user(kernel, argument, arg)) {
    return fail(Errno::Fault);
  }
  return result;
}

}  // namespace enclume::kernel
