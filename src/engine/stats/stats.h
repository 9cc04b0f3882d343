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
  /// The time-stamp counter, if anybody wants to know.
  [[nodiscard]] std::uint64_t now() const { return on() ? __rdtsc() : 0; }

 private:
  [[nodiscard]] StatsCell& cell(std::uint32_t slot) const { return group_->cells[slot % kStatsShards]; }
  void claim_group();

  StatsFile* file_ = nullptr;
  StatsGroup* group_ = nullptr;
};

}  // namespace enclume::engine
