// SPDX-License-Identifier: Apache-2.0
#include "kernel/paging_journal.h"

#include <atomic>
#include <cstring>

#include "arch/structs/version_array.h"

namespace enclume::kernel {

namespace {

enum What : std::uint32_t {
  kNothing,
  kEviction,
  kLoad,
  kChange
};

arch::EpcPage epc_page(const Enclave& enclave, std::uint64_t number) noexcept {
  return number == enclave.pages() ? enclave.secs_page() : enclave.epc_page(number);
}

EnclavePage& page_of(const Enclave& enclave, std::uint64_t number) noexcept {
  return number == enclave.pages() ? enclave.shared().secs : enclave.page(number);
}

std::atomic_ref<std::uint64_t> version_in(const Enclave& enclave, std::uint64_t slot) noexcept {
  return arch::version_array_of(enclave.va_page(slot / kVaSlotsPerPage)).atomic_slot(slot % kVaSlotsPerPage);
}

}  // namespace

Journaled::Journaled(Enclave& enclave, std::uint32_t what, std::uint64_t number, std::uint64_t slot) noexcept
    : journal_(enclave.shared().journal) {
  journal_.page.store(number, std::memory_order_relaxed);
  journal_.slot.store(slot, std::memory_order_relaxed);
  journal_.what.store(what, std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);  // what is noted begins after the note
}

Journaled Journaled::eviction(Enclave& enclave, std::uint64_t number, std::uint64_t slot) noexcept {
  return {enclave, kEviction, number, slot};
}

Journaled Journaled::load(Enclave& enclave, std::uint64_t number, std::uint64_t slot) noexcept {
  std::memcpy(enclave.spare_page(), epc_page(enclave, number).data, kPageSize);
  enclave.shared().journal.version.store(version_in(enclave, slot).load(), std::memory_order_relaxed);
  return {enclave, kLoad, number, slot};
}

Journaled Journaled::change(Enclave& enclave, std::uint64_t number) noexcept {
  return {enclave, kChange, number, 0};
}

void end_journaled(const Kernel& kernel, Enclave& enclave) noexcept {
  PagingJournal& journal = enclave.shared().journal;
  const std::uint32_t what = journal.what.load(std::memory_order_acquire);
  if (what == kNothing) {
    return;
  }
  const std::uint64_t number = journal.page.load();
  const std::uint64_t slot = journal.slot.load();
  const arch::EpcPage epc = epc_page(enclave, number);
  EnclavePage& page = page_of(enclave, number);
  const bool valid = epc.epcm->load().valid;
  if (what == kEviction) {
    if (valid) {
      version_in(enclave, slot).store(0);
    } else if (version_in(enclave, slot).load() != 0) {
      std::memcpy(epc.data, enclave.spare_page(), kPageSize);
      page.va_slot.store(static_cast<std::uint32_t>(slot + 1));
      PageState state = page.load();
      state.resident = false;
      page.store(state);
      kernel.shared.evictions.fetch_add(1);
    }
  } else if (what == kLoad) {
    if (valid) {
      page.va_slot.store(0);
    } else {
      std::memcpy(epc.data, enclave.spare_page(), kPageSize);
      version_in(enclave, slot).store(journal.version.load());
    }
  } else if (valid && !enclave.index().contains(number)) {
    epc.epcm->store({});
  }
  journal.what.store(kNothing, std::memory_order_release);
}

}  // namespace enclume::kernel
