// SPDX-License-Identifier: Apache-2.0
// The half of NativeProtection that lets enclave pages be executed.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/fast/exit_load.h"
#include "engine/pages/native_protection.h"
#include "engine/pages/page_guards.h"

namespace enclume::engine {

namespace {

using kernel::Protection;

/// Pages around a fetch that are looked at with it, in aligned groups: most hold nothing of interest, and the
/// signal that the first fetch costs is more than looking through several.
constexpr std::uint64_t kFetchAround = 16;

/// How often a page is patched for an exit. One that is written and executed by turns, or read where nobody
/// may read the copy, loses it each time, and to lay it again costs more than to trap the exit.
constexpr std::uint32_t kMostOften = 64;

/// #OF by a gate that is open to user code: a trap, so that RIP is behind it.
constexpr std::byte kInt4[kInt4Length] = {std::byte{0xcd}, std::byte{4}};

Protection without(Protection prot, Protection taken) {
  return Protection::of(prot.bits() & ~taken.bits());
}

}  // namespace

void NativeProtection::read_text(const kernel::Vma& vma, std::uint64_t page, PageText& text) const {
  const kernel::Enclave& enclave = *vma.enclave;
  const auto executable = [&](std::uint64_t other) {
    return other < enclave.pages() && vma.range.contains(enclave.page_address(other)) &&
           kernel::effective_protection(enclave, other, vma.prot).executable();
  };
  std::memcpy(text.page(), enclave.epc_page(page).data, kPageSize);
  text.before = page > 0 && executable(page - 1) ? PageText::kBefore : 0;
  if (text.before != 0) {
    std::memcpy(text.page() - text.before, enclave.epc_page(page - 1).data + kPageSize - text.before,
                text.before);
  }
  text.behind = executable(page + 1) ? PageText::kBehind : 0;
  if (text.behind != 0) {
    std::memcpy(text.page() + kPageSize, enclave.epc_page(page + 1).data, text.behind);
  }
}

bool NativeProtection::allow_fetch(const kernel::Vma& found_vma, LinearAddress page,
                                   std::optional<std::uint16_t> start) {
  const OwnerLockGuard guard(lock_, engine().handler_thread_id());
  const auto now = as_it_is_now(found_vma, page);
  if (!now) {
    return true;
  }
  const kernel::Vma& vma = *now;
  const kernel::Enclave& enclave = *vma.enclave;
  const std::uint64_t number = enclave.page_number(page);
  const LinearRange range{page, page + kPageSize};
  const Protection effective = kernel::effective_protection(enclave, number, vma.prot);
  if (!effective.executable() || !watches()) {
    set_or_clear(vma, range, effective);
    return true;
  }
  PatchedPage* entry = patched_.find(page);
  if (entry != nullptr && entry->holders != 0) {
    patched_.count_step(*entry);
    if (entry->holders != 0) {
      return false;
    }
  }
  if (effective.writable()) {
    // Nobody may write between the look and the permission to execute what was looked at.
    const Protection frozen = without(effective, kernel::kProtWrite | kernel::kProtExec);
    if (entry != nullptr && entry->shadowed) {
      show_original(vma, *entry, frozen);
    } else {
      set_or_clear(vma, range, frozen);
    }
    if (entry != nullptr) {
      erase(*entry);
    }
    entry = nullptr;
  }
  if (entry != nullptr && !entry->shadowed) {
    give_up_exits(*entry);
    give_up_traps(*entry);
  }
  if (entry == nullptr) {
    PageText text;
    read_text(vma, number, text);
    const PageSites found = find_page_sites(
        text, start ? std::span(&*start, 1) : std::span<const std::uint16_t>{}, wanted_, branches_);
    if (found.sites != 0) {
      entry = remember(page, found.opcodes);
    }
  }
  if (entry == nullptr || entry->unpatched()) {
    allow_fetch_around(vma, number, without(effective, kernel::kProtWrite));
  } else if (!show_patched(vma, *entry)) {
    set_or_clear(vma, range, without(effective, kernel::kProtWrite));  // no room for the copy
  }
  return true;
}

PatchedPage* NativeProtection::remember(LinearAddress page, const PageOffsets& sites) {
  PatchedPage* entry = patched_.insert(page, sites);
  if (entry == nullptr) {
    PatchedPage* victim = patched_.victim();
    const LinearAddress other = victim->address;
    if (const auto vma = kernel_.vmas.find(other); vma && victim->shadowed) {
      show_original(*vma, *victim, kernel::kProtNone);
    }
    erase(*victim);
    entry = patched_.insert(page, sites);
  }
  return entry;
}

bool NativeProtection::show_patched(const kernel::Vma& vma, PatchedPage& entry) {
  const std::byte* original = vma.enclave->epc_page(vma.enclave->page_number(entry.address)).data;
  std::array<std::byte, kPageSize> copy;
  write_patched_page({original, kPageSize}, entry.sites, copy.data());
  for (ExitSite* exit : entry.exits) {
    if (exit != nullptr) {
      ++exit->laid;
      const auto jump = exit->jump();
      std::memcpy(copy.data() + LinearAddress(exit->jump_at).page_offset(), jump.data(), jump.size());
    }
  }
  for (EncluTrap* enclu : entry.traps) {
    if (enclu != nullptr) {
      ++enclu->laid;
      std::memcpy(copy.data() + LinearAddress(enclu->address).page_offset(), kInt4, sizeof(kInt4));
    }
  }
  const Features& features = engine().features;
  // Under a key that denies data access it is for execution only: keys don't stop instruction fetch.
  const int key = features.execute_only_pkey >= 0 ? features.execute_only_pkey : native_key(vma);
  entry.shadowed = lay_copy(entry.address, copy, PROT_READ | PROT_EXEC, key);
  if (entry.shadowed) {
    PageGuards(*vma.enclave).note_new_mapping(vma.enclave->page_number(entry.address), 1, kernel::kProtNone);
  }
  return entry.shadowed;
}

Slow NativeProtection::leave_directly(const kernel::Vma& found, LinearAddress enclu, int tid) {
  const OwnerLockGuard guard(lock_, tid);
  const auto now = as_it_is_now(found, enclu);
  if (!now) {
    return Slow::NotWatched;
  }
  const kernel::Vma& vma = *now;
  const kernel::Enclave& enclave = *vma.enclave;
  const LinearAddress page = enclu.page();
  const std::uint64_t number = enclave.page_number(page);
  const Protection effective = kernel::effective_protection(enclave, number, vma.prot);
  if (effective.writable()) {
    return Slow::Writable;
  }
  if (!watches() || !effective.executable()) {
    return Slow::NotWatched;
  }
  PatchedPage* entry = patched_.find(page);
  if (entry != nullptr && entry->holders != 0) {
    return Slow::PageHeld;
  }
  std::array<std::byte, kPageSize> text;
  std::memcpy(text.data(), enclave.epc_page(number).data, kPageSize);
  const auto load = find_exit_load(text, enclu.page_offset(), branches_);
  if (!load) {
    return load.error();
  }
  const std::uint64_t address = page.value() + *load;
  ExitSite* site = exits_.find(address, enclu.value());
  if (site == nullptr) {
    const auto added = exits_.add(address, enclu.value(), enclave.elrange(),
                                  std::span(text).subspan(*load, enclu.page_offset() - *load));
    if (!added) {
      return added.error();
    }
    site = *added;
  }
  if (entry != nullptr && std::ranges::find(entry->exits, site) != entry->exits.end()) {
    return Slow::Disturbed;
  }
  if (site->laid >= kMostOften) {
    return Slow::LaidTooOften;
  }
  if (const Slow why = watch_exit(*site); why != Slow::Disturbed) {
    return why;
  }
  entry = patched_.find(page);  // room for the watch may have been made by taking off what was here
  if (entry == nullptr) {
    entry = remember(page, PageOffsets{});
  }
  for (ExitSite*& exit : entry->exits) {
    if (exit != nullptr) {
      continue;
    }
    exit = site;
    if (!show_patched(vma, *entry)) {
      exit = nullptr;
      release_watch(*site);
      return Slow::NoRoom;
    }
    return Slow::NewSite;
  }
  release_watch(*site);
  return Slow::TooManySites;
}

/// Takes the exits off that have been laid too often, for good.
void NativeProtection::give_up_exits(PatchedPage& entry) {
  const auto too_often = [](const ExitSite* exit) { return exit != nullptr && exit->laid >= kMostOften; };
  for (ExitSite* exit : entry.exits) {
    if (too_often(exit)) {
      release_watch(*exit);
    }
  }
  const auto end = std::remove_if(entry.exits.begin(), entry.exits.end(), too_often);
  std::fill(end, entry.exits.end(), nullptr);
}

/// The same of ENCLUs.
void NativeProtection::give_up_traps(PatchedPage& entry) {
  const auto too_often = [](const EncluTrap* enclu) { return enclu != nullptr && enclu->laid >= kMostOften; };
  std::fill(std::remove_if(entry.traps.begin(), entry.traps.end(), too_often), entry.traps.end(), nullptr);
}

void NativeProtection::trap_by_int4(const kernel::Vma& found, LinearAddress enclu, int tid) {
  const Features& features = engine().features;
  if (!features.dear_undefined || features.execute_only_pkey < 0 || !watches()) {
    return;
  }
  const OwnerLockGuard guard(lock_, tid);
  const auto vma = as_it_is_now(found, enclu);
  if (!vma) {
    return;
  }
  const std::uint64_t number = vma->enclave->page_number(enclu.page());
  const Protection effective = kernel::effective_protection(*vma->enclave, number, vma->prot);
  if (effective.writable() || !effective.executable() || enclu.page_offset() > kPageSize - kInt4Length ||
      !begins_instruction({vma->enclave->epc_page(number).data, kPageSize}, enclu.page_offset(), branches_)) {
    return;
  }
  EncluTrap* const site = traps_.at(enclu.value());
  if (site == nullptr || site->laid >= kMostOften) {
    return;
  }
  PatchedPage* entry = patched_.find(enclu.page());
  if (entry == nullptr) {
    entry = remember(enclu.page(), PageOffsets{});
  }
  for (EncluTrap*& place : entry->traps) {
    if (place == site) {
      return;  // another thread has done it
    }
    if (place == nullptr) {
      place = site;
      if (!show_patched(*vma, *entry)) {
        place = nullptr;
      }
      return;
    }
  }
}

void NativeProtection::release_watch(ExitSite& site) {
  if (site.is_watched) {
    site.is_watched = false;
    watches_.release(site.watched);
  }
}

void NativeProtection::release_watches(const PatchedPage& entry) {
  for (ExitSite* exit : entry.exits) {
    if (exit != nullptr) {
      release_watch(*exit);
    }
  }
}

void NativeProtection::erase(PatchedPage& entry) {
  release_watches(entry);
  patched_.erase(entry.address);
}

/// Whether the page may be executed wherever its code begins.
bool NativeProtection::harmless(const kernel::Vma& vma, std::uint64_t page, Protection effective) {
  const kernel::Enclave& enclave = *vma.enclave;
  if (page >= enclave.pages() || !vma.range.contains(enclave.page_address(page)) ||
      kernel::effective_protection(enclave, page, vma.prot) != effective ||
      patched_.find(enclave.page_address(page)) != nullptr) {
    return false;
  }
  PageText text;
  read_text(vma, page, text);
  const PageSites found = find_page_sites(text, {}, wanted_, branches_);
  return found.sites == 0 && found.unclear == 0;
}

void NativeProtection::allow_fetch_around(const kernel::Vma& vma, std::uint64_t page, Protection effective) {
  const std::uint64_t group = align_down(page, kFetchAround);
  std::uint64_t first = page;
  while (first > group && harmless(vma, first - 1, effective)) {
    --first;
  }
  std::uint64_t end = page + 1;
  while (end < group + kFetchAround && harmless(vma, end, effective)) {
    ++end;
  }
  set_or_clear(vma, {vma.enclave->page_address(first), vma.enclave->page_address(end)}, effective);
}

bool NativeProtection::withdraw_sites(const kernel::Vma& found, LinearRange instruction) {
  const OwnerLockGuard guard(lock_, engine().handler_thread_id());
  bool withdrawn = false;
  for (LinearAddress at = instruction.begin; at < instruction.end; at = at + 1) {
    PatchedPage* entry = patched_.find(at.page());
    if (entry == nullptr || !entry->sites.contains(at.page_offset())) {
      continue;
    }
    entry->sites.remove(at.page_offset());
    if (const auto vma = as_it_is_now(found, at); vma && entry->shadowed) {
      show_original(*vma, *entry, kernel::kProtNone);  // the next fetch or access asks
    }
    withdrawn = true;
  }
  return withdrawn;
}

std::optional<std::uint32_t> NativeProtection::hold(const kernel::Vma& vma, LinearAddress opcode, int tid) {
  if (engine().features.execute_only_pkey >= 0) {
    return std::nullopt;
  }
  std::optional<std::uint32_t> held;
  {
    const OwnerLockGuard guard(lock_, tid);
    if (PatchedPage* entry = patched_.find(opcode.page());
        entry != nullptr && entry->sites.contains(opcode.page_offset())) {
      held = patched_.hold(*entry);
    }
  }
  if (held) {
    allow_data(vma, opcode.page());
  }
  return held;
}

void NativeProtection::release(LinearAddress page, std::uint32_t generation) {
  const OwnerLockGuard guard(lock_, engine().handler_thread_id());
  patched_.release(page, generation);
}

}  // namespace enclume::engine
