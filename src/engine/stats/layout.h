// SPDX-License-Identifier: Apache-2.0
// What `enclume run --stats` counts: a file of memory that `enclume run` keeps, and that each process of the
// run maps. All-zero memory is the fresh state. So the figures of a process that is killed are there up to
// then.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "engine/stats/slow.h"

namespace enclume::engine {

enum class Count : std::uint8_t {
  Eenter,  ///< entries, as all transitions here: those that were trapped
  Eresume,
  EntryFault,  ///< EENTERs and ERESUMEs that faulted
  Eexit,
  OtherLeaf,       ///< inside: EREPORT, EACCEPT, …
  AexInterrupt,    ///< asynchronous exits by signals and interrupts
  AexKick,         ///< by the machine itself, which wanted the thread out
  FaultResolved,   ///< page faults that the kernel's half settled itself
  FaultFixedUp,    ///< exceptions that the exception design handed over
  FaultSignalled,  ///< exceptions that became signals
  PagesAdded,      ///< EADD
  PagesAugmented,  ///< EAUG
  PagesOut,        ///< EWB
  PagesIn,         ///< ELDU
  PagesRemoved,
  Ioctls,       ///< of SGX
  RawCalls,     ///< system calls that came in by SIGSYS
  Signals,      ///< that the engine's handler has run for, its own traps among them
  ReadsLost,    ///< by enclave code, of a direct exit's jump in place of its own bytes
  TicksInside,  ///< of the time-stamp counter, from entry to exit
  TicksEngine,  ///< in the engine's signal handler
  TicksPaging,  ///< in evicting pages and loading them
  kNumber
};

struct alignas(64) StatsCell {
  std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(Count::kNumber)> counts;
  std::array<std::atomic<std::uint64_t>, 32> aex;  ///< asynchronous exits by vector
  std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(Slow::kNumber)> slow_entries;
  std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(Slow::kNumber)> slow_exits;
};

/// What one thread counts on its direct paths, without a lock (fast/enter.S, fast/exit.S).
struct alignas(64) DirectCounts {
  std::atomic<std::uint64_t> eenter;
  std::atomic<std::uint64_t> eresume;
  std::atomic<std::uint64_t> eexit;
  std::atomic<std::uint64_t> ticks_inside;  ///< of stays that have ended directly
};

/// An EEXIT of an enclave that stayed slow for a reason of its own.
struct SlowSite {
  std::atomic<std::uint64_t> key;  ///< see slow_site_key(), 0: a free entry
  std::atomic<std::uint64_t> count;
  std::uint64_t enclave;                      ///< MRENCLAVE's first bytes
  std::atomic<std::uint64_t> offset_and_one;  ///< from the enclave's base, plus one; 0: not written yet
};

/// Threads of a process share a few cells by the numbers of their slots: fewer of them meet on a cache line.
inline constexpr std::size_t kStatsShards = 8;

inline constexpr unsigned kAddressBits = 48;
[[nodiscard]] constexpr std::uint64_t slow_site_key(std::uint64_t address, Slow why) {
  return address | static_cast<std::uint64_t>(why) << kAddressBits;
}
[[nodiscard]] constexpr Slow reason_in(std::uint64_t key) {
  return static_cast<Slow>(key >> kAddressBits);
}

/// Threads of a process that are counted on the direct paths; another's transitions are all trapped.
inline constexpr std::size_t kDirectThreads = 512;
/// Sites of a process that are told of one by one; those behind are in the sums.
inline constexpr std::size_t kSlowSites = 64;

struct StatsGroup {
  std::atomic<std::int32_t>
      process;  ///< whose it is, or was: one whose process is gone is used again, and adds on
  std::array<StatsCell, kStatsShards> cells;
  std::array<SlowSite, kSlowSites> slow_sites;
  std::array<DirectCounts, kDirectThreads> direct;  ///< by slot: a slot is one thread's
};

inline constexpr std::size_t kStatsGroups = 2048;

struct StatsFile {
  std::atomic<std::uint64_t> processes;  ///< that the engine has run in; a forked child and a program that
                                         ///< was executed count anew
  std::array<StatsGroup, kStatsGroups> groups;
};

}  // namespace enclume::engine
