// SPDX-License-Identifier: Apache-2.0
#include "kernel/enclave_lock.h"

#include <span>

#include "arch/epc/tracking.h"
#include "arch/structs/secs.h"
#include "kernel/epc_loss.h"
#include "kernel/paging_journal.h"

namespace enclume::kernel {

void EnclaveLock::lock() noexcept {
  const bool clean = enclave_.shared().lock.lock(kernel_.platform.thread_id());
  if (!clean && enclave_.mapped()) {
    repair_enclave(kernel_, enclave_);
  }
}

SysResult<void> EnclaveLock::reserve(EpcReservation& epc, std::uint64_t pages, bool interruptible) noexcept {
  if (epc.available() >= pages) {
    return {};
  }
  enclave_.shared().lock.unlock();
  auto result = epc.ensure(pages, interruptible);
  lock();
  return result;
}

namespace {

/// Which slots of the version arrays are taken, anew from the pages that are out.
void renew_va_slots(Enclave& enclave) noexcept {
  EnclaveShared& shared = enclave.shared();
  if (const std::uint64_t next = shared.va_pages.load();
      next < enclave.layout().max_va_pages && enclave.va_page(next).epcm->load().valid) {
    shared.va_pages.store(next + 1);
  }
  for (std::uint64_t va = 0; va < shared.va_pages.load(); ++va) {
    enclave.va_page(va).epcm->lock.store(0, std::memory_order_release);
    for (std::uint64_t word = 0; word < kVaSlotsPerPage / 64; ++word) {
      enclave.va_slots(va)[word].store(0);
    }
  }
  const auto take = [&](const EnclavePage& page) {
    if (const std::uint32_t slot = page.va_slot.load(); slot != 0) {
      const std::uint64_t bit = (slot - 1) % kVaSlotsPerPage;
      enclave.va_slots((slot - 1) / kVaSlotsPerPage)[bit / 64].fetch_or(1ULL << (bit % 64));
    }
  };
  const PageIndex& index = enclave.index();
  for (std::uint64_t n = index.next(0); n != PageIndex::kNone; n = index.next(n + 1)) {
    take(enclave.page(n));
  }
  take(shared.secs);
}

}  // namespace

void repair_enclave(const Kernel& kernel, Enclave& enclave) noexcept {
  EnclaveShared& shared = enclave.shared();
  end_journaled(kernel, enclave);
  if (epc_lost(enclave)) {
    return;  // as it is
  }
  std::uint64_t present = 1;  // the SECS
  std::uint64_t resident = 0;
  PageIndex& index = enclave.index();
  for (std::uint64_t n = index.next(0); n != PageIndex::kNone; n = index.next(n + 1)) {
    EnclavePage& page = enclave.page(n);
    PageState state = page.load();
    const arch::EpcPage epc = enclave.epc_page(n);
    // SGX instructions of the dead thread are over. One of a living thread holds its page for moments
    // only, and never one that the dead thread was changing.
    epc.epcm->lock.store(0, std::memory_order_release);
    state.resident = epc.epcm->load().valid;
    state.present = state.resident || page.va_slot.load() != 0;
    page.store(state);
    if (state.present) {
      ++present;
      resident += state.resident ? 1 : 0;
    } else {
      index.erase(n);
    }
  }
  const arch::EpcPage secs = enclave.secs_page();
  secs.epcm->lock.store(0, std::memory_order_release);
  PageState secs_state = shared.secs.load();
  secs_state.resident = secs.epcm->load().valid;
  shared.secs.store(secs_state);
  shared.page_count.store(present);
  shared.secs_children.store(resident);
  if (secs_state.resident) {
    arch::secs_of(secs).set_children(static_cast<std::uint32_t>(resident));
    arch::tracking_repair(arch::secs_of(secs));
  }
  renew_va_slots(enclave);

  // What is set aside stays charged; that of the dead one goes when it is swept.
  std::uint64_t pages = shared.epc_pages();
  for (const Attachment& a :
       std::span(kernel.shared.attachments).first(kernel.shared.attachments_end.load())) {
    pages += a.number.load() == enclave.number() ? a.reserved.load() : 0;
  }
  const std::uint64_t charged = enclave.record().epc_pages.exchange(pages);
  kernel.shared.epc_used.fetch_add(pages - charged);
}

}  // namespace enclume::kernel
