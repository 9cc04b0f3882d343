// SPDX-License-Identifier: Apache-2.0
#include "kernel/reclaim/eviction.h"

#include <cstring>

#include "arch/epc/tracking.h"
#include "arch/structs/secs.h"
#include "kernel/encls.h"
#include "kernel/paging_journal.h"
#include "kernel/reclaim/reclaim.h"
#include "kernel/va_slots.h"

namespace enclume::kernel {

namespace {

/// Kicks before a page is left blocked. With Platform::relax() of a millisecond this is about a second.
constexpr unsigned kMaxKicks = 1000;

/// Kicks that a thread may outlast before an ioctl goes on without it: some half second.
constexpr unsigned kMaxStayed = 30;

/// The one that has to be empty before ETRACK begins another, and before what was blocked in it can go.
std::uint32_t previous_epoch(const Enclave& enclave) noexcept {
  return arch::tracking_epoch(arch::secs_of(enclave.secs_page())) - 1;
}

/// EWB in Linux's three stages: as it is, after ETRACK, after the IPIs (sgx_encl_ewb()). `number` pages() is
/// the SECS. The ciphertext ends where the page was, which is not in the EPC any more.
bool write_back(const Kernel& kernel, Enclave& enclave, std::uint64_t number, const arch::EpcPage& epc,
                EnclavePage& page) noexcept {
  const auto slot = take_va_slot(enclave);
  if (!slot) {
    return false;
  }
  const Journaled journaled = Journaled::eviction(enclave, number, *slot);
  Encls encls(kernel, enclave);
  const auto ewb = [&] { return encls.ewb(epc, enclave.spare_page(), enclave.pcmd(number), *slot); };
  auto result = ewb();
  for (unsigned kicks = 0; failed_with(result, arch::LeafCode::NotTracked) && kicks < kMaxKicks; ++kicks) {
    // ETRACK fails while an earlier cycle is open; the kick closes that one too.
    const bool tracking = succeeded(encls.etrack());
    if (tracking) {
      result = ewb();
      if (!failed_with(result, arch::LeafCode::NotTracked)) {
        break;
      }
    }
    if (kicks > 0) {
      kernel.platform.relax();
    }
    (void)kernel.platform.kick(enclave, previous_epoch(enclave));
    result = ewb();
  }
  if (!succeeded(result)) {
    free_va_slot(enclave, *slot);
    if (epc.epcm->load().valid) {
      return false;
    }
    // Lost (see kernel/epc_loss.h). Linux has its EPC page back all the same; what comes of the next touch,
    // ELDU says (sgx_reclaimer_write()).
  } else {
    std::memcpy(epc.data, enclave.spare_page(), kPageSize);
    page.va_slot.store(static_cast<std::uint32_t>(*slot + 1));
    kernel.platform.count_pages(Platform::PageEvent::Out, 1);
  }
  PageState state = page.load();
  state.resident = false;
  state.aged = false;
  state.untouched = kernel.maps_on_touch;
  page.store(state);
  kernel.shared.evictions.fetch_add(1);
  give_back_epc_page(kernel, enclave);
  return true;
}

bool write_back_page(const Kernel& kernel, Enclave& enclave, std::uint64_t page) noexcept {
  if (!write_back(kernel, enclave, page, enclave.epc_page(page), enclave.page(page))) {
    return false;
  }
  enclave.shared().secs_children.fetch_sub(1);
  return true;
}

bool write_back_childless_secs(const Kernel& kernel, Enclave& enclave) noexcept {
  EnclaveShared& s = enclave.shared();
  if (s.secs_children.load() != 0 || !enclave.initialized() || !s.secs.load().resident) {
    return false;
  }
  return write_back(kernel, enclave, enclave.pages(), enclave.secs_page(), s.secs);
}

}  // namespace

void revoke_pages(const Kernel& kernel, Enclave& enclave, std::span<const std::uint64_t> pages) noexcept {
  if (pages.empty()) {
    return;
  }
  std::atomic<std::uint64_t>& epoch = enclave.shared().protection_epoch;
  enclave.protection_coming.store(epoch.load() + 1);  // the lock is ours, so nobody else moves it
  const std::uint64_t before = epoch.fetch_add(1);
  kernel.platform.withhold(enclave, pages);
  // This process is in order then, and need not look through all its pages at the next entry, unless it was
  // behind.
  std::uint64_t seen = before;
  enclave.protection_seen.compare_exchange_strong(seen, before + 1);
  enclave.protection_coming.store(0);
}

/// Until nobody is inside of before the last ETRACK. EENTER is one instruction to an IPI. Here a thread of
/// another process is counted before it can be found, and may wait for a processor in between: it is asked
/// for again and again.
void kick_all(const Kernel& kernel, Enclave& enclave) noexcept {
  unsigned stayed = 0;
  for (unsigned kicks = 0; kicks < kMaxKicks && stayed < kMaxStayed; ++kicks) {
    if (!kernel.platform.kick(enclave, previous_epoch(enclave))) {
      ++stayed;
    }
    if (arch::tracking_inside(arch::secs_of(enclave.secs_page()), previous_epoch(enclave)) == 0) {
      return;
    }
    kernel.platform.relax();
  }
}

bool track_and_kick(const Kernel& kernel, Enclave& enclave) noexcept {
  Encls encls(kernel, enclave);
  if (!succeeded(encls.etrack())) {
    kick_all(kernel, enclave);
    if (!succeeded(encls.etrack())) {
      return false;
    }
  }
  kick_all(kernel, enclave);
  return true;
}

unsigned evict_pages(const Kernel& kernel, Enclave& enclave, std::span<const std::uint64_t> pages) noexcept {
  Encls encls(kernel, enclave);
  // A page that a thread walked to since it was chosen may have its native permissions back; from EBLOCK on
  // effective_protection() says none, so nobody gives them again.
  std::uint64_t blocked[kReclaimBatch];
  std::uint64_t in_use[kReclaimBatch];
  std::size_t blocked_count = 0;
  std::size_t in_use_count = 0;
  for (const std::uint64_t page : pages) {
    if (kernel.platform.injected_full_backing()) {
      continue;  // as sgx_reclaim_pages() where sgx_encl_alloc_backing() fails: the page stays
    }
    const auto result = encls.eblock(page);
    if (succeeded(result) || failed_with(result, arch::LeafCode::BlkState) ||
        failed_with(result, arch::LeafCode::PgInvld)) {  // lost: EWB's to find out
      blocked[blocked_count++] = page;
      if (!enclave.page(page).load().aged) {
        in_use[in_use_count++] = page;
      }
    }
  }
  revoke_pages(kernel, enclave, {in_use, in_use_count});

  unsigned freed = 0;
  for (std::size_t i = 0; i < blocked_count; ++i) {
    freed += write_back_page(kernel, enclave, blocked[i]) ? 1U : 0U;
  }
  return freed + (write_back_childless_secs(kernel, enclave) ? 1U : 0U);
}

bool evict_blocked_page(const Kernel& kernel, Enclave& enclave, std::uint64_t page) noexcept {
  return write_back_page(kernel, enclave, page);
}

}  // namespace enclume::kernel
