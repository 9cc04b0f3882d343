// SPDX-License-Identifier: Apache-2.0
#include "kernel/vma/first_touch.h"

#include <algorithm>

#include "kernel/enclave_lock.h"
#include "kernel/reclaim/eviction.h"
#include "kernel/resident_page.h"

namespace enclume::kernel {

namespace {

/// Changes the state of a page as `change` says, if it then is another.
template <typename Change>
void update(EnclavePage& page, Change change) noexcept {
  std::uint32_t word = page.word.load(std::memory_order_acquire);
  for (;;) {
    PageState state = PageState::unpack(word);
    change(state);
    if (state.pack() == word ||
        page.word.compare_exchange_weak(word, state.pack(), std::memory_order_acq_rel)) {
      return;
    }
  }
}

/// The processor sets the accessed bit when it uses the new PTE.
void touch(EnclavePage& page) noexcept {
  update(page, [](PageState& state) {
    state.untouched = false;
    state.aged = false;
  });
}

bool touched(const Enclave& enclave, std::uint64_t page) noexcept {
  return page < enclave.pages() && enclave.index().contains(page) && !enclave.page(page).load().untouched;
}

void map_all(Enclave& enclave) noexcept {
  for (std::uint64_t n = enclave.index().next(0); n != PageIndex::kNone; n = enclave.index().next(n + 1)) {
    if (enclave.page(n).load().resident) {
      update(enclave.page(n), [](PageState& state) { state.untouched = false; });
    }
  }
}

}  // namespace

void map_touched(Enclave& enclave, std::uint64_t page, bool loaded) noexcept {
  if (!enclave.page(page).load().untouched) {
    return;
  }
  touch(enclave.page(page));
  if (loaded || (page > 0 && touched(enclave, page - 1)) || touched(enclave, page + 1)) {
    return;
  }
  EnclaveShared& s = enclave.shared();
  if (s.islands.fetch_add(1) + 1 >= kMaxIslands) {
    s.islands.store(0);
    map_all(enclave);
    s.protection_epoch.fetch_add(1);  // so that all of it gets its native permissions in few calls
  }
}

bool unmap_page(const Kernel& kernel, Enclave& enclave, std::uint64_t page) noexcept {
  const EnclaveLock lock(kernel, enclave);
  if (!is_resident(enclave, page)) {
    return false;
  }
  update(enclave.page(page), [](PageState& state) { state.untouched = true; });
  revoke_pages(kernel, enclave, {&page, 1});
  return true;
}

void unmap_touched(const Kernel& kernel, LinearRange range) noexcept {
  if (!kernel.maps_on_touch) {
    return;
  }
  for (LinearAddress at = range.begin; at < range.end;) {
    const auto vma = kernel.vmas.find_from(at);
    if (!vma || vma->range.begin >= range.end) {
      return;
    }
    const LinearAddress end = std::min(vma->range.end, range.end);
    const Enclave& enclave = *vma->enclave;
    if (enclave.mapped() && enclave.elrange().overlaps({at, end})) {
      const LinearAddress first = std::max({at, vma->range.begin, enclave.elrange().begin});
      const std::uint64_t stop = std::min(enclave.page_number(end), enclave.pages());
      for (std::uint64_t n = enclave.index().next(enclave.page_number(first)); n < stop;
           n = enclave.index().next(n + 1)) {
        update(enclave.page(n), [](PageState& state) { state.untouched = true; });
      }
    }
    at = end;
  }
}

}  // namespace enclume::kernel
