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
// The counts are kept in stripes, a cache line each, by TCS: entries on several processors share no line. A
// stripe has an epoch of its own beside its two counts, in one word, so that an entry counts in exactly the
// epoch that it is made in: Linux treats an ETRACK that fails after everybody has been thrown out as a bug of
// its own. ETRACK moves the SECS's epoch first and the stripes' after it. Whoever enters in between counts in
// the old epoch, which is cautious. Whoever marks a page in between marks it with the new one, and then all
// that counted in the old one before are gone by the time that the ETRACK after that succeeds.
//
// Everything here is lock free and can be called from any thread. Signal context: safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "arch/structs/secs.h"

namespace enclume::arch {

/// The layout of TrackingStripe::word; SecsInternal::tracking has the epoch only. A page that stays blocked
/// while exactly 2^24 ETRACKs pass seems not tracked once more, which the next ETRACK puts right. A count
/// can't overflow: who is inside holds a TCS, and 2^20 of them with an SSA frame each fill 8 GiB of EPC.
namespace tracking_word {
inline constexpr unsigned kEpochBits = 24;
inline constexpr unsigned kCountBits = 20;
inline constexpr std::uint64_t kEpochMask = (1ULL << kEpochBits) - 1;
inline constexpr std::uint64_t kCountMask = (1ULL << kCountBits) - 1;

constexpr std::uint32_t epoch(std::uint64_t word) {
  return static_cast<std::uint32_t>(word & kEpochMask);
}
/// One entry made in `epoch`, or in any of its parity.
constexpr std::uint64_t one(std::uint32_t epoch) {
  return 1ULL << (kEpochBits + (epoch & 1) * kCountBits);
}
/// Logical processors inside whose entry was made in an epoch of that parity.
constexpr std::uint32_t inside(std::uint64_t word, std::uint32_t epoch) {
  return static_cast<std::uint32_t>((word >> (kEpochBits + (epoch & 1) * kCountBits)) & kCountMask);
}
}  // namespace tracking_word

/// Where entries by this TCS count. The multiplier spreads TCSs that lie at regular distances.
[[nodiscard]] inline std::uint64_t& tracking_stripe(Secs& secs, LinearAddress tcs) noexcept {
  constexpr unsigned kStripeBits = 5;
  static_assert(kTrackingStripes == 1U << kStripeBits);
  const auto page = static_cast<std::uint32_t>(tcs.value() / kPageSize);
  return secs.stripes[(page * 0x9e3779b1U) >> (32 - kStripeBits)].word;
}

/// A logical processor enters (EENTER, ERESUME). Returns the epoch to pass to tracking_leave().
inline std::uint32_t tracking_enter(Secs& secs, LinearAddress tcs = {}) noexcept {
  const std::atomic_ref word(tracking_stripe(secs, tcs));
  std::uint64_t seen = word.load(std::memory_order_relaxed);
  while (!word.compare_exchange_weak(seen, seen + tracking_word::one(tracking_word::epoch(seen)))) {
  }
  return tracking_word::epoch(seen);
}

/// The logical processor leaves (EEXIT, AEX), or will never come back because its thread is dead.
inline void tracking_leave(Secs& secs, std::uint32_t entry_epoch, LinearAddress tcs = {}) noexcept {
  std::atomic_ref(tracking_stripe(secs, tcs)).fetch_sub(tracking_word::one(entry_epoch));
}

/// Logical processors inside the enclave whose entry was made in an epoch of that parity.
[[nodiscard]] inline std::uint32_t tracking_inside(Secs& secs, std::uint32_t epoch) noexcept {
  std::uint32_t count = 0;
  for (TrackingStripe& stripe : secs.stripes) {
    count += tracking_word::inside(std::atomic_ref(stripe.word).load(), epoch);
  }
  return count;
}

/// Logical processors inside the enclave.
[[nodiscard]] inline std::uint32_t tracking_inside(Secs& secs) noexcept {
  return tracking_inside(secs, 0) + tracking_inside(secs, 1);
}

[[nodiscard]] inline std::uint32_t tracking_epoch(Secs& secs) noexcept {
  return tracking_word::epoch(std::atomic_ref(secs.internal.tracking).load());
}

/// Brings the stripes to the epoch of the SECS.
inline void tracking_move_stripes(Secs& secs) noexcept {
  const std::uint64_t epoch = tracking_epoch(secs);
  for (TrackingStripe& stripe : secs.stripes) {
    const std::atomic_ref word(stripe.word);
    std::uint64_t seen = word.load();
    while (!word.compare_exchange_weak(seen, (seen & ~tracking_word::kEpochMask) | epoch)) {
    }
  }
}

/// Begins the next epoch. False (PREV_TRK_INCMPL) while logical processors that entered before the previous
/// call are inside. For the holder of SecsInternal::tracking_lock: two of them would skip an epoch.
[[nodiscard]] inline bool tracking_advance(Secs& secs) noexcept {
  const std::uint32_t now = tracking_epoch(secs);
  // Nobody can join these: all stripes are in epoch `now`.
  if (tracking_inside(secs, now + 1) != 0) {
    return false;
  }
  const std::uint64_t next = (now + 1) & tracking_word::kEpochMask;
  std::atomic_ref(secs.internal.tracking).store(next);
  tracking_move_stripes(secs);
  return true;
}

/// Ends what a thread that is dead has begun in ETRACK, EADD, EEXTEND or EINIT. For who may do none of them
/// meanwhile but itself.
inline void tracking_repair(Secs& secs) noexcept {
  tracking_move_stripes(secs);
  std::atomic_ref(secs.internal.tracking_lock).store(0);
  std::atomic_ref(secs.internal.measurement_lock).store(0);
}

/// To be called after the change of the page's EPCM entry is visible, by the holder of the page's lock:
/// whoever enters later sees the change, whoever entered before counts in this epoch or an earlier one.
inline void tracking_mark(Secs& secs, EpcmEntry& entry) noexcept {
  // Reads by a locked operation: the load may not pass the store to the EPCM entry.
  const std::uint64_t word = std::atomic_ref(secs.internal.tracking).fetch_add(0);
  entry.blocked_epoch.store(tracking_word::epoch(word), std::memory_order_release);
}

/// For a page that is new in the EPC, or back in it: there is nothing to wait for.
inline void tracking_clear(Secs& secs, EpcmEntry& entry) noexcept {
  const std::uint64_t long_ago = (tracking_epoch(secs) - 2) & tracking_word::kEpochMask;
  entry.blocked_epoch.store(static_cast<std::uint32_t>(long_ago), std::memory_order_release);
}

/// Whether a page marked in `blocked_epoch` can have no stale translations any more.
[[nodiscard]] inline bool is_tracked(Secs& secs, std::uint32_t blocked_epoch) noexcept {
  const std::uint64_t passed = (tracking_epoch(secs) - blocked_epoch) & tracking_word::kEpochMask;
  if (passed == 0) {
    return false;
  }
  // Two epochs on, ETRACK itself has made sure that nobody is left.
  return passed > 1 || tracking_inside(secs, blocked_epoch) == 0;
}

}  // namespace enclume::arch
