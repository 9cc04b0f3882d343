// SPDX-License-Identifier: Apache-2.0
#include "kernel/enclave_lock.h"

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

void repair_enclave(const Kernel& kernel, Enclave& enclave) noexcept {
  EnclaveShared& shared = enclave.shared();
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

  const std::uint64_t charged = enclave.record().epc_pages.exchange(shared.epc_pages());
  kernel.shared.epc_used.fetch_add(shared.epc_pages() - charged);
}

}  // namespace enclume::kernel
