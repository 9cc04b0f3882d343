// SPDX-License-Identifier: Apache-2.0
#include "kernel/resident_page.h"

#include <algorithm>
#include <cstring>

#include "kernel/encls.h"
#include "kernel/paging_journal.h"
#include "kernel/reclaim/eviction.h"
#include "kernel/va_slots.h"

namespace enclume::kernel {

namespace {

constexpr std::uint64_t kPcmdsPerPage = kPageSize / kPcmdSize;

bool secs_resident(const Enclave& enclave) noexcept {
  return enclave.shared().secs.load().resident;
}

/// After a load nobody needs the PCMD; a page of PCMDs goes when its last one does.
void drop_pcmd(const Kernel& kernel, Enclave& enclave, std::uint64_t page) noexcept {
  std::memset(enclave.pcmd(page), 0, kPcmdSize);

  const std::uint64_t first = align_down(page, kPcmdsPerPage);
  const std::uint64_t end = std::min(first + kPcmdsPerPage, enclave.pages());
  for (std::uint64_t n = enclave.index().next(first); n < end; n = enclave.index().next(n + 1)) {
    if (n != page && !enclave.page(n).load().resident) {
      return;
    }
  }
  if (end < first + kPcmdsPerPage && page != enclave.pages() && !secs_resident(enclave)) {
    return;  // the SECS' PCMD is the last one, beside those of the last pages
  }
  kernel.platform.discard(enclave.pcmd(first), kPageSize);
}

SysResult<void> load_secs(const Kernel& kernel, Enclave& enclave, EpcReservation& epc) noexcept {
  const PagingTime time(kernel);
  EnclavePage& secs = enclave.shared().secs;
  const std::uint64_t place = enclave.pages();
  if (secs.va_slot.load() == 0) {
    return fail(Errno::Fault);  // lost
  }
  const std::uint64_t slot = secs.va_slot.load() - 1;
  const Journaled journaled = Journaled::load(enclave, place, slot);
  if (!succeeded(Encls(kernel, enclave)
                     .eldu(enclave.secs_page(), LinearAddress(0), true, enclave.pcmd(place), slot))) {
    std::memcpy(enclave.secs_page().data, enclave.spare_page(), kPageSize);
    return fail(Errno::Fault);
  }
  epc.use();
  kernel.platform.count_pages(Platform::PageEvent::In, 1);
  PageState state = secs.load();
  state.resident = true;
  secs.store(state);
  secs.va_slot.store(0);
  free_va_slot(enclave, slot);
  drop_pcmd(kernel, enclave, place);
  return {};
}

SysResult<void> load_page(const Kernel& kernel, Enclave& enclave, EpcReservation& epc,
                          std::uint64_t number) noexcept {
  const PagingTime time(kernel);
  EnclavePage& page = enclave.page(number);
  if (page.va_slot.load() == 0) {
    return fail(Errno::Fault);  // lost, and taken back by the reclaimer since
  }
  const std::uint64_t slot = page.va_slot.load() - 1;
  const Journaled journaled = Journaled::load(enclave, number, slot);
  if (!succeeded(Encls(kernel, enclave)
                     .eldu(enclave.epc_page(number), enclave.page_address(number), false,
                           enclave.pcmd(number), slot))) {
    // Linux still has what ELDU has refused, and tries it again at the next touch.
    std::memcpy(enclave.epc_page(number).data, enclave.spare_page(), kPageSize);
    return fail(Errno::Fault);
  }
  epc.use();
  kernel.platform.count_pages(Platform::PageEvent::In, 1);
  enclave.shared().secs_children.fetch_add(1);
  PageState state = page.load();
  state.resident = true;
  state.aged = false;
  page.store(state);
  page.va_slot.store(0);
  free_va_slot(enclave, slot);
  drop_pcmd(kernel, enclave, number);
  return {};
}

}  // namespace

bool is_resident(const Enclave& enclave, std::uint64_t page) noexcept {
  return page < enclave.pages() && enclave.index().contains(page) && enclave.page(page).load().resident &&
         !enclave.epc_page(page).epcm->load().blocked;
}

SysResult<void> make_secs_resident(const Kernel& kernel, Enclave& enclave, EnclaveLock& lock,
                                   EpcReservation& epc, std::uint64_t extra) noexcept {
  for (;;) {
    const std::uint64_t needed = extra + (secs_resident(enclave) ? 0U : 1U);
    if (epc.available() >= needed) {
      break;
    }
    if (auto r = lock.reserve(epc, needed, false); !r) {
      return r;
    }
  }
  return secs_resident(enclave) ? SysResult<void>{} : load_secs(kernel, enclave, epc);
}

SysResult<void> make_resident(const Kernel& kernel, Enclave& enclave, EnclaveLock& lock, EpcReservation& epc,
                              std::uint64_t page) noexcept {
  for (;;) {
    if (page >= enclave.pages() || !enclave.index().contains(page)) {
      return fail(Errno::Fault);
    }
    if (is_resident(enclave, page)) {
      return {};
    }
    if (enclave.page(page).load().resident) {
      // A reclaimer blocked it and could not go on (a stopped process held threads inside): a blocked page
      // comes back only by way of its eviction.
      if (!evict_blocked_page(kernel, enclave, page)) {
        return fail(Errno::Fault);
      }
      continue;
    }
    if (epc.available() >= 1U + (secs_resident(enclave) ? 0U : 1U)) {
      break;
    }
    if (auto r = make_secs_resident(kernel, enclave, lock, epc, 1); !r) {
      return r;
    }
    // The lock was dropped: look again.
  }
  if (auto r = make_secs_resident(kernel, enclave, lock, epc, 1); !r) {
    return r;
  }
  return load_page(kernel, enclave, epc, page);
}

}  // namespace enclume::kernel
