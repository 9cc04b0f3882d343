// SPDX-License-Identifier: Apache-2.0
// What `enclume run --stats` counts: a file of memory that `enclume run` keeps, and that each process of the
// run maps. All-zero memory is the fresh state. So the figures of a process that is killed are there up to
// then.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace enclume::engine {

enum class Count : std::uint8_t {
  Eenter,  ///< entries
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
  TicksInside,  ///< of the time-stamp counter, from entry to exit
  TicksEngine,  ///< in the engine's signal handler
  kNumber
};

struct alignas(64) StatsCell {
  std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(Count::kNumber)> counts;
  std::array<std::atomic<std::uint64_t>, 32> aex;  ///< asynchronous exits by vector
};

/// Threads of a process share a few cells by the numbers of their slots: fewer of them meet on a cache line.
inline constexpr std::size_t kStatsShards = 8;

struct StatsGroup {
  std::atomic<std::int32_t>
      process;  ///< whose it is, or was: one whose process is gone is used again, and adds on
  std::array<StatsCell, kStatsShards> cells;
};

inline constexpr std::size_t kStatsGroups = 2048;

struct StatsFile {
  std::atomic<std::uint64_t> processes;  ///< that the engine has run in; a forked child and a program that
                                         ///< was executed count anew
  std::array<StatsGroup, kStatsGroups> groups;
};

}  // namespace enclume::engine
