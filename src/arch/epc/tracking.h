// SPDX-License-Identifier: Apache-2.0
// ETRACK's bookkeeping: may some logical processor inside the enclave still use an old translation of a
// page? (SDM Vol. 3D, "EPC and Management of EPC Pages"; the counters are the model's, only their effects
// are architectural.)
//
// The SECS holds an epoch and two counts of logical processors inside, one for entries made in an even epoch
// and one for odd ones. Two are enough: ETRACK refuses to begin epoch e+1 while somebody who entered in
// epoch e-1 is still inside. EBLOCK, EMODPR and EMODT note the epoch in the page's EPCM entry; the page is
// tracked when an ETRACK has come after that and everybody who was inside at that time has left.
//
// Everything here is lock free and can be called from any thread. Signal context: safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "arch/structs/secs.h"

namespace enclume::arch {

/// A logical processor enters (EENTER, ERESUME). Returns the epoch to pass to tracking_leave().
inline std::uint32_t tracking_enter(Secs& secs) noexcept {
  const std::atomic_ref epoch(secs.internal.epoch);
  for (;;) {
    const std::uint32_t seen = epoch.load();
    const std::atomic_ref count(secs.internal.inside[seen & 1]);
    count.fetch_add(1);
    // An ETRACK between the two would have missed us. To be counted for a moment in the wrong epoch does no
    // harm: somebody may see "not yet" once more.
    if (epoch.load() == seen) {
      return seen;
    }
    count.fetch_sub(1);
  }
}

/// The logical processor leaves (EEXIT, AEX), or will never come back because its thread is dead.
inline void tracking_leave(Secs& secs, std::uint32_t entry_epoch) noexcept {
  std::atomic_ref(secs.internal.inside[entry_epoch & 1]).fetch_sub(1);
}

/// Logical processors inside the enclave.
[[nodiscard]] inline std::uint32_t tracking_inside(Secs& secs) noexcept {
  return std::atomic_ref(secs.internal.inside[0]).load() + std::atomic_ref(secs.internal.inside[1]).load();
}

[[nodiscard]] inline std::uint32_t tracking_epoch(Secs& secs) noexcept {
  return std::atomic_ref(secs.internal.epoch).load();
}

/// Begins the next epoch. False (PREV_TRK_INCMPL) while logical processors that entered before the previous
/// call are inside. The caller holds the SECS' tracking lock: only one at a time.
[[nodiscard]] inline bool tracking_advance(Secs& secs) noexcept {
  const std::atomic_ref epoch(secs.internal.epoch);
  const std::uint32_t now = epoch.load();
  if (std::atomic_ref(secs.internal.inside[(now + 1) & 1]).load() != 0) {
    return false;
  }
  epoch.store(now + 1);
  return true;
}

/// To be called after the change of the page's EPCM entry is visible, by the holder of the page's lock:
/// whoever enters later sees the change, whoever entered before counts in this epoch or an earlier one.
inline void tracking_mark(Secs& secs, EpcmEntry& entry) noexcept {
  // Reads by a locked operation: the load may not pass the store to the EPCM entry.
  const std::uint32_t now = std::atomic_ref(secs.internal.epoch).fetch_add(0);
  entry.blocked_epoch.store(now, std::memory_order_release);
}

/// For a page that is new in the EPC, or back in it: there is nothing to wait for.
inline void tracking_clear(Secs& secs, EpcmEntry& entry) noexcept {
  entry.blocked_epoch.store(tracking_epoch(secs) - 2, std::memory_order_release);
}

/// Whether a page marked in `blocked_epoch` can have no stale translations any more.
[[nodiscard]] inline bool is_tracked(Secs& secs, std::uint32_t blocked_epoch) noexcept {
  const std::uint32_t passed = tracking_epoch(secs) - blocked_epoch;
  if (passed == 0) {
    return false;
  }
  // Two epochs on, ETRACK itself has made sure that nobody is left.
  return passed > 1 || std::atomic_ref(secs.internal.inside[blocked_epoch & 1]).load() == 0;
}

}  // namespace enclume::arch
