// SPDX-License-Identifier: Apache-2.0
// Counting for `--stats`. Each hook costs one branch when nobody wants to know.
#pragma once

#include <x86intrin.h>

#include <cstdint>

#include "engine/stats/layout.h"

namespace enclume::engine {

/// Signal context: safe, all of it.
class Stats {
 public:
  /// Maps the file. False if it can't be had: the figures then are without this program's.
  bool open(const char* path);
  /// In a forked child: cells of its own.
  void after_fork() {
    if (file_ != nullptr) {
      claim_group();
    }
  }
  [[nodiscard]] bool on() const { return group_ != nullptr; }

  void add(std::uint32_t slot, Count what, std::uint64_t n = 1) {
    if (on()) [[unlikely]] {
      cell(slot).counts[static_cast<std::size_t>(what)].fetch_add(n, std::memory_order_relaxed);
    }
  }
  void add_aex(std::uint32_t slot, unsigned vector) {
    if (on()) [[unlikely]] {
      cell(slot).aex[vector % 32].fetch_add(1, std::memory_order_relaxed);
    }
  }
  /// A trapped transition, and why it was.
  void add_slow_entry(std::uint32_t slot, Slow why) {
    cell(slot).slow_entries[static_cast<std::size_t>(why)].fetch_add(1, std::memory_order_relaxed);
  }
  void add_slow_exit(std::uint32_t slot, Slow why) {
    cell(slot).slow_exits[static_cast<std::size_t>(why)].fetch_add(1, std::memory_order_relaxed);
  }
  /// An EEXIT at `address`, `offset` bytes into the enclave with this MRENCLAVE.
  void add_slow_site(std::uint64_t address, Slow why, std::uint64_t enclave, std::uint64_t offset);
  /// What the thread in this slot counts by itself; null if nothing is counted, or there is no room for it.
  [[nodiscard]] DirectCounts* direct(std::uint32_t slot) const {
    return exclusive_ && slot < kDirectThreads ? &group_->direct[slot] : nullptr;
  }
  /// The time-stamp counter, if anybody wants to know.
  [[nodiscard]] std::uint64_t now() const { return on() ? __rdtsc() : 0; }

 private:
  [[nodiscard]] StatsCell& cell(std::uint32_t slot) const { return group_->cells[slot % kStatsShards]; }
  void claim_group();

  StatsFile* file_ = nullptr;
  StatsGroup* group_ = nullptr;
  bool exclusive_ = false;  ///< the group is this process's alone
};

}  // namespace enclume::engine
