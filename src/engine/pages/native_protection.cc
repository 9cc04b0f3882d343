// SPDX-License-Identifier: Apache-2.0
#include "engine/pages/native_protection.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/panic.h"
#include "base/syscall.h"
#include "engine/debugger.h"
#include "engine/engine.h"
#include "engine/pages/enclave_keys.h"
#include "engine/pages/page_guards.h"

namespace enclume::engine {

/// The enclave's key, or none; but a key that the program chose is there for the enclave to feel.
int NativeProtection::native_key(const kernel::Vma& vma) const {
  if (!engine().features.pkeys) {
    return -1;
  }
  const int own = vma.pkey == 0 ? choose_key(*vma.enclave, kernel_.enclaves) : -1;
  return own >= 0 ? own : static_cast<int>(vma.pkey);
}

/// One mapping for the whole VMA, without any permission, is always less than what is there; the pages in use
/// come back one by one through faults.
void NativeProtection::clear(const kernel::Vma& vma) {
  const LinearRange elrange = vma.enclave->elrange();
  const LinearRange inside{vma.range.begin > elrange.begin ? vma.range.begin : elrange.begin,
                           vma.range.end < elrange.end ? vma.range.end : elrange.end};
  bool had_copies = false;
  patched_.take(inside, [&](const PatchedPage& entry) {
    had_copies = had_copies || entry.shadowed;
    release_watches(entry);
  });
  ENCLUME_CHECK((!had_copies || lay_original(*vma.enclave, inside, PROT_NONE, native_key(vma))) &&
                    protect_native(vma.range, PROT_NONE, native_key(vma)),
                {"vma", vma.range.begin.value()}, {"size", vma.range.size()});
  PageGuards(*vma.enclave)
      .note(vma.enclave->page_number(inside.begin), inside.size() / kPageSize, kernel::kProtNone);
}

void NativeProtection::clear_all() {
  for (auto vma = kernel_.vmas.find_from(LinearAddress()); vma;
       vma = kernel_.vmas.find_from(vma->range.end)) {
    if (vma->enclave->mapped() && vma->enclave->elrange().overlaps(vma->range)) {
      clear(*vma);
    }
  }
  boundaries_ = 0;
}

/// What setting a range to `prot` does to the number of places where neighbouring pages differ: by what they
/// may have, which is nearly what they have.
void NativeProtection::count_boundaries(const kernel::Vma& vma, LinearRange range, kernel::Protection prot) {
  const kernel::Enclave& enclave = *vma.enclave;
  const auto count = [&](LinearAddress neighbour) {
    if (vma.range.contains(neighbour) && enclave.elrange().contains(neighbour)) {
      const auto page = enclave.page_number(neighbour);
      const bool differs = data_view(kernel::effective_protection(enclave, page, vma.prot)) != prot;
      boundaries_ += differs ? 1 : boundaries_ > 0 ? -1 : 0;
    }
  };
  count(LinearAddress(range.begin.value() - kPageSize));
  count(range.end);
}

bool NativeProtection::set_or_clear(const kernel::Vma& vma, LinearRange range, kernel::Protection prot,
                                    std::uint64_t guarded) {
  PageGuards guards(*vma.enclave);
  const std::uint64_t first = vma.enclave->page_number(range.begin);
  const std::uint64_t pages = range.size() / kPageSize;
  count_boundaries(vma, range, prot);
  if (boundaries_ > kMaxBoundaries) {
    clear_all();
    return false;
  }
  if (!allow_native(*vma.enclave, range, prot.bits(), native_key(vma))) {
    clear(vma);  // too many mappings: the program has many of its own
    return false;
  }
  guards.note(first, pages, prot);
  if (!prot.none()) {
    guards.remove(first, pages - guarded);
  }
  return true;
}

void NativeProtection::apply_vma(const kernel::Vma& vma, std::uint64_t first_page, std::uint64_t end_page) {
  const kernel::Enclave& enclave = *vma.enclave;
  patched_.take({enclave.page_address(first_page), enclave.page_address(end_page)}, [&](PatchedPage& entry) {
    if (entry.shadowed) {
      show_original(vma, entry, kernel::kProtNone);
    }
    release_watches(entry);
  });
  kernel::ProtectionRuns runs(enclave, first_page, end_page, vma.prot);
  while (const auto run = runs.next()) {
    const LinearAddress begin = enclave.page_address(run->first);
    if (!set_or_clear(vma, {begin, begin + run->count * kPageSize}, data_view(run->prot))) {
      return;
    }
  }
}

void NativeProtection::apply(kernel::Enclave& enclave, std::uint64_t first_page, std::uint64_t count) {
  if (!enclave.mapped() || first_page >= enclave.pages()) {
    return;
  }
  const OwnerLockGuard guard(lock_, engine().handler_thread_id());
  const std::uint64_t end_page = count < enclave.pages() - first_page ? first_page + count : enclave.pages();
  LinearAddress at = enclave.page_address(first_page);
  const LinearAddress end = at + (end_page - first_page) * kPageSize;
  while (at < end) {
    const auto vma = kernel_.vmas.find_from(at);
    if (!vma || vma->range.begin >= end) {
      return;
    }
    if (vma->enclave == &enclave) {
      const LinearAddress begin = vma->range.begin > at ? vma->range.begin : at;
      const LinearAddress stop = vma->range.end < end ? vma->range.end : end;
      apply_vma(*vma, enclave.page_number(begin), enclave.page_number(begin) + (stop - begin) / kPageSize);
    }
    at = vma->range.end;
  }
}

void NativeProtection::withhold(kernel::Enclave& enclave, std::span<const std::uint64_t> pages) {
  if (!enclave.mapped()) {
    return;
  }
  const OwnerLockGuard guard(lock_, engine().handler_thread_id());
  for (std::size_t i = 0; i < pages.size();) {
    const std::uint64_t first = pages[i];
    std::uint64_t end = first + 1;
    ++i;
    const auto vma = kernel_.vmas.find(enclave.page_address(first));
    if (!vma || vma->enclave != &enclave) {
      continue;
    }
    // One call for all that lie close together, with nothing between them that may be used.
    const auto usable = [&](std::uint64_t page) {
      return !kernel::effective_protection(enclave, page, vma->prot).none();
    };
    for (; i < pages.size() && pages[i] >= end && pages[i] - first < kTogether &&
           vma->range.contains(enclave.page_address(pages[i]));
         ++i) {
      while (end < pages[i] && !usable(end)) {
        ++end;
      }
      if (end != pages[i]) {
        break;
      }
      ++end;
    }
    withhold_range(*vma, first, end);
  }
}

void NativeProtection::withhold_range(const kernel::Vma& vma, std::uint64_t first, std::uint64_t end) {
  kernel::Enclave& enclave = *vma.enclave;
  const LinearRange range{enclave.page_address(first), enclave.page_address(end)};
  patched_.take(range, [&](PatchedPage& entry) {
    if (entry.shadowed) {
      show_original(vma, entry, kernel::kProtNone);
    }
  });
  // A debugger could read pages without permissions, and can't read guarded ones.
  if (enclume_debugger.announce != 0 || !PageGuards(enclave).install(first, end - first)) {
    set_or_clear(vma, range, kernel::kProtNone);
  }
}

void NativeProtection::apply_all(kernel::Enclave& enclave) {
  const std::uint64_t epoch = enclave.shared().protection_epoch.load(std::memory_order_acquire);
  apply(enclave, 0, enclave.pages());
  // Only now: another thread that enters meanwhile has to see to it itself.
  std::uint64_t seen = enclave.protection_seen.load(std::memory_order_relaxed);
  while (seen < epoch && !enclave.protection_seen.compare_exchange_weak(seen, epoch)) {
  }
}

void NativeProtection::sync(kernel::Enclave& enclave) {
  if (!enclave.protection_settled()) {
    apply_all(enclave);
  }
}

void NativeProtection::clear_mapped(const kernel::Vma& vma) {
  if (vma.enclave->mapped() && vma.enclave->elrange().overlaps(vma.range)) {
    clear(vma);
  }
}

void NativeProtection::forget(LinearRange range) {
  patched_.take(range, [&](const PatchedPage& entry) { release_watches(entry); });
  watches_.close(range);
  traps_.forget_history(range);
  exits_.for_each([&](ExitSite& site) {
    if (range.contains(LinearAddress(site.load))) {
      site.forget_history();
    }
  });
}

void NativeProtection::forget_guards(const kernel::Vma& vma) {
  const LinearRange elrange = vma.enclave->elrange();
  const LinearAddress begin = std::max(vma.range.begin, elrange.begin);
  const LinearAddress end = std::min(vma.range.end, elrange.end);
  if (vma.enclave->mapped() && begin < end) {
    PageGuards(*vma.enclave)
        .note_new_mapping(vma.enclave->page_number(begin), (end - begin) / kPageSize, kernel::kProtNone);
  }
}

/// Without this, a thread that was interrupted between its look at the table and the lock would give
/// permissions to a mapping that has come in the place of the enclave's, or more than there are since.
std::optional<kernel::Vma> NativeProtection::as_it_is_now(const kernel::Vma& found,
                                                          LinearAddress page) const {
  auto now = kernel_.vmas.find(page);
  if (now && now->enclave != found.enclave) {
    now.reset();
  }
  return now;
}

void NativeProtection::show_original(const kernel::Vma& vma, PatchedPage& entry, kernel::Protection prot) {
  entry.shadowed = false;
  if (!lay_original(*vma.enclave, {entry.address, entry.address + kPageSize}, prot.bits(), native_key(vma))) {
    entry.shadowed = true;
    clear(vma);
    return;
  }
  PageGuards(*vma.enclave).note_new_mapping(vma.enclave->page_number(entry.address), 1, prot);
}

/// `page` and those of its neighbours in an aligned block that may be accessed in the same way: one call
/// gives permissions to all, and they are one mapping. Pages that may be executed stay apart.
LinearRange NativeProtection::alike_around(const kernel::Vma& vma, LinearAddress page,
                                           kernel::Protection effective) {
  LinearRange range{page, page + kPageSize};
  if (effective.executable() || effective.none()) {
    return range;
  }
  const kernel::Enclave& enclave = *vma.enclave;
  const LinearRange elrange = enclave.elrange();
  const LinearAddress block(align_down(page.value(), kAround * kPageSize));
  const auto alike = [&](LinearAddress at) {
    return vma.range.contains(at) && elrange.contains(at) && patched_.find(at) == nullptr &&
           kernel::effective_protection(enclave, enclave.page_number(at), vma.prot) == effective;
  };
  while (range.begin > block && alike(LinearAddress(range.begin.value() - kPageSize))) {
    range.begin = LinearAddress(range.begin.value() - kPageSize);
  }
  while (range.end < block + kAround * kPageSize && alike(range.end)) {
    range.end = range.end + kPageSize;
  }
  return range;
}

/// Where pages are added one behind the other, puts guards on those to come in `page`'s block, behind what is
/// `alike`: how many. They may have its permissions then, and each needs but a guard lifted when it comes.
std::uint64_t NativeProtection::guard_pages_to_come(const kernel::Vma& vma, LinearAddress page,
                                                    LinearRange alike) {
  kernel::Enclave& enclave = *vma.enclave;
  const LinearAddress next = page + kPageSize;
  const LinearAddress block_end(align_down(page.value(), kToCome * kPageSize) + kToCome * kPageSize);
  const LinearAddress limit = std::min({block_end, vma.range.end, enclave.elrange().end});
  // (A debugger can't read guarded pages.)
  if (alike.begin == page || alike.end != next || !kernel_.config.sgx2 || !enclave.initialized() ||
      enclume_debugger.announce != 0) {
    return 0;
  }
  LinearAddress end = next;
  while (end < limit && !enclave.index().contains(enclave.page_number(end)) &&
         patched_.find(end) == nullptr) {
    end = end + kPageSize;
  }
  const std::uint64_t count = (end - next) / kPageSize;
  return count != 0 && PageGuards(enclave).install(enclave.page_number(next), count) ? count : 0;
}

/// A page of which nothing was taken but by a guard.
bool NativeProtection::lift_guard(const kernel::Vma& vma, LinearAddress page, kernel::Protection prot) {
  PageGuards guards(*vma.enclave);
  const std::uint64_t number = vma.enclave->page_number(page);
  if (!guards.on(number) || prot.none() || guards.underneath(number) != prot) {
    return false;
  }
  guards.remove(number, 1);
  if (prot.writable() && native_key(vma) < 0) {
    // Else the access to come is a page fault, for which the kernel looks at the neighbours as well.
    sys::raw(__NR_madvise, static_cast<long>(page.value()), kPageSize, MADV_POPULATE_WRITE);
  }
  return true;
}

void NativeProtection::allow_data(const kernel::Vma& found, LinearAddress page) {
  const OwnerLockGuard guard(lock_, engine().handler_thread_id());
  const auto vma = as_it_is_now(found, page);
  if (!vma) {
    return;
  }
  const kernel::Protection effective =
      kernel::effective_protection(*vma->enclave, vma->enclave->page_number(page), vma->prot);
  PatchedPage* entry = patched_.find(page);
  if (entry == nullptr && lift_guard(*vma, page, data_view(effective))) {
    return;
  }
  if (entry != nullptr && entry->shadowed) {
    show_original(*vma, *entry, data_view(effective));
  } else {
    const LinearRange alike = alike_around(*vma, page, effective);
    const std::uint64_t to_come = guard_pages_to_come(*vma, page, alike);
    set_or_clear(*vma, {alike.begin, alike.end + to_come * kPageSize}, data_view(effective), to_come);
  }
  if (effective.writable() && entry != nullptr) {
    erase(*entry);
  }
}

void NativeProtection::allow_all(const kernel::Vma& found, LinearAddress page) {
  const OwnerLockGuard guard(lock_, engine().handler_thread_id());
  const auto vma = as_it_is_now(found, page);
  if (!vma) {
    return;
  }
  const kernel::Protection effective =
      kernel::effective_protection(*vma->enclave, vma->enclave->page_number(page), vma->prot);
  PatchedPage* entry = patched_.find(page);
  if (entry != nullptr && entry->shadowed) {
    show_original(*vma, *entry, effective);
  } else {
    set_or_clear(*vma, {page, page + kPageSize}, effective);
  }
  if (effective.writable() && entry != nullptr) {
    erase(*entry);
  }
}

}  // namespace enclume::engine
