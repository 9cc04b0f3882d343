// SPDX-License-Identifier: Apache-2.0
#include "kernel/va_slots.h"

#include <bit>

#include "kernel/encls.h"

namespace enclume::kernel {

bool growth_needs_va_page(const Enclave& enclave) noexcept {
  const EnclaveShared& s = enclave.shared();
  return s.page_count.load() >= s.va_pages.load() * kVaSlotsPerPage;
}

SysResult<void> grow(const Kernel& kernel, Enclave& enclave, EpcReservation& epc) noexcept {
  EnclaveShared& s = enclave.shared();
  if (growth_needs_va_page(enclave)) {
    const std::uint64_t index = s.va_pages.load();
    if (index >= enclave.layout().max_va_pages || !succeeded(Encls(kernel, enclave).epa(index))) {
      return fail(Errno::Fault);
    }
    epc.use();
    s.va_pages.store(index + 1);
  }
  s.page_count.fetch_add(1);
  return {};
}

void shrink(Enclave& enclave) noexcept {
  enclave.shared().page_count.fetch_sub(1);
}

std::optional<std::uint64_t> take_va_slot(Enclave& enclave) noexcept {
  EnclaveShared& s = enclave.shared();
  const std::uint64_t pages = s.va_pages.load();
  const std::uint64_t hint = s.va_hint.load();
  for (std::uint64_t i = 0; i < pages; ++i) {
    const std::uint64_t va = (hint + i) % pages;
    std::atomic<std::uint64_t>* words = enclave.va_slots(va);
    for (std::uint64_t w = 0; w < kVaSlotsPerPage / 64; ++w) {
      const std::uint64_t taken = words[w].load(std::memory_order_relaxed);
      if (taken != ~0ULL) {
        const auto bit = static_cast<unsigned>(std::countr_one(taken));
        words[w].store(taken | (1ULL << bit), std::memory_order_relaxed);
        s.va_hint.store(va);
        return va * kVaSlotsPerPage + w * 64 + bit;
      }
    }
  }
  return std::nullopt;
}

void free_va_slot(Enclave& enclave, std::uint64_t slot) noexcept {
  const std::uint64_t va = slot / kVaSlotsPerPage;
  const std::uint64_t in_page = slot % kVaSlotsPerPage;
  enclave.va_slots(va)[in_page / 64].fetch_and(~(1ULL << (in_page % 64)));
  enclave.shared().va_hint.store(va);
}

}  // namespace enclume::kernel
