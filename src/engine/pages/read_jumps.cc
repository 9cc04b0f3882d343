// SPDX-License-Identifier: Apache-2.0
// The half of NativeProtection that keeps the jumps of direct exits from the eyes of the enclave, on machines
// where what can be executed can be read: by watches (fast/read_watch.h).
#include <algorithm>

#include "base/syscall.h"
#include "engine/debugger.h"
#include "engine/engine.h"
#include "engine/fast/doors.h"
#include "engine/pages/native_protection.h"

namespace enclume::engine {

/// Has the watches of other sites ended until there is room for those of this one, the oldest first. Where
/// sites take turns they wait ever longer, so that they do it ever more rarely.
void NativeProtection::make_room(const ExitSite& site) {
  while (!watches_.has_room(site.watched)) {
    ExitSite* oldest = nullptr;
    exits_.for_each([&](ExitSite& other) {
      if (other.is_watched && (oldest == nullptr || other.watched_since < oldest->watched_since)) {
        oldest = &other;
      }
    });
    if (oldest == nullptr) {
      return;
    }
    constexpr std::uint32_t kLongest = 1U << 20;
    take_exit_off(*oldest);
    oldest->trapped = 0;
    oldest->too_few = oldest->too_few < kLongest ? oldest->too_few * 64 : kLongest;
    oldest->why_unwatched = Slow::NoDebugRegister;
  }
}

/// Before `site` is laid: that it can't be read unnoticed. Else why it must not be laid; Disturbed if it may.
Slow NativeProtection::watch_exit(ExitSite& site) {
  if (!guarded_ || engine().features.execute_only_pkey >= 0 || site.is_watched) {
    return Slow::Disturbed;
  }
  if (site.read) {
    return Slow::Read;
  }
  if (unwatched_.load(std::memory_order_relaxed)) {
    return Slow::Unwatched;
  }
  // Where nobody else uses perf events the first watch waits until the kernel has patched itself (some 14 ms,
  // most of them asleep); later ones take 20 to 60 us.
  if (site.trapped < site.too_few) {
    ++site.trapped;
    return site.why_unwatched;
  }
  const bool traced = has_tracer();
  if (!traced) {
    make_room(site);
  }
  const auto watched = traced ? std::expected<void, Slow>(std::unexpected(Slow::NoDebugRegister))
                              : watches_.watch(site.watched);
  if (!watched) {
    site.trapped = 0;
    site.why_unwatched = watched.error();
    return watched.error();
  }
  site.is_watched = true;
  site.watched_since = ++times_watched_;
  return Slow::Disturbed;
}

/// Whether the page had been showing the jump.
bool NativeProtection::take_exit_off(ExitSite& site) {
  PatchedPage* entry = patched_.find(LinearAddress(site.load).page());
  const auto at = entry != nullptr ? std::ranges::find(entry->exits, &site) : nullptr;
  if (entry == nullptr || at == entry->exits.end()) {
    release_watch(site);
    return false;
  }
  const bool shown = entry->shadowed;
  if (const auto vma = kernel_.vmas.find(entry->address); vma && shown) {
    show_original(*vma, *entry, kernel::kProtNone);  // the next fetch or access asks
  }
  release_watch(site);
  if (entry->address.value() != 0) {  // else all of the VMA was
    *std::remove(entry->exits.begin(), entry->exits.end(), &site) = nullptr;
    if (entry->unpatched()) {
      erase(*entry);
    }
  }
  return shown;
}

NativeProtection::Jumps NativeProtection::give_up_read(std::uint64_t word, int tid) {
  const OwnerLockGuard guard(lock_, tid);
  Jumps jumps;
  exits_.for_each([&](ExitSite& site) {
    if (std::ranges::find(site.watched, word) == site.watched.end()) {
      return;
    }
    // If another thread has read it at the same time, it has been given up by now, but not by then.
    const bool was_read = site.read;
    const bool was_there = site.is_watched;
    if (was_there) {
      site.read = true;
    }
    if ((take_exit_off(site) || was_read) && jumps.count < jumps.jump.size()) {
      jumps.jump[jumps.count++] = {site.jump_at, site.jump(), site.original};
    }
  });
  // What it had watched beside this: a read after now finds the page's own bytes.
  watches_.close_released();
  return jumps;
}

void NativeProtection::give_up_before_read(std::uint64_t address, std::uint64_t size, int tid) {
  const OwnerLockGuard guard(lock_, tid);
  exits_.for_each([&](ExitSite& site) {
    if (site.is_watched && site.jump_at < address + size && address < site.jump_at + site.original.size()) {
      site.read = true;
      take_exit_off(site);
    }
  });
  watches_.close_released();
}

void NativeProtection::withdraw_exits_locked() {
  exits_.for_each([&](ExitSite& site) {
    if (site.is_watched) {
      take_exit_off(site);
      site.trapped = 0;
      site.why_unwatched = Slow::NoDebugRegister;
    }
  });
  watches_.close_released();
}

void NativeProtection::withdraw_exits(int tid) {
  const OwnerLockGuard guard(lock_, tid);
  withdraw_exits_locked();
}

void NativeProtection::join_watch(ThreadBlock& block) {
  block.may_be_inside.store(true, std::memory_order_seq_cst);
  if (watches_.in_use() && debugger_has_way_in()) {
    withdraw_exits(block.tid);
  }
  if (watches_.joined(block)) {
    return;
  }
  const OwnerLockGuard guard(lock_, block.tid);
  if (!watches_.join(block)) {
    // This thread would not notice, so there must be nothing to notice.
    unwatched_.store(true, std::memory_order_relaxed);
    withdraw_exits_locked();
    (void)watches_.join(block);
  }
}

}  // namespace enclume::engine
