// SPDX-License-Identifier: Apache-2.0
// The patched CPUID sites, as a signal handler looks them up.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/errno.h"
#include "engine/cpuid/scan.h"

namespace enclume::engine {

/// A sorted array behind one pointer. A writer builds a new array and swaps the pointer; the old one is
/// unmapped when no reader can still be in it. Readers only count themselves, so they never wait.
///
/// Zero-initialised memory is an empty table.
class SiteTable {
 public:
  constexpr SiteTable() = default;
  ~SiteTable() = default;  // trivial: a global one serves to the process's very end
  SiteTable(const SiteTable&) = delete;
  SiteTable& operator=(const SiteTable&) = delete;

  /// The site that starts at the address. Signal context: safe.
  [[nodiscard]] std::optional<HostSite> find(std::uint64_t address) const noexcept;

  /// Replaces the table. `sites` ascend by address. Without memory the old table stays.
  /// Signal context: unsafe. One writer at a time.
  SysResult<void> publish(std::span<const HostSite> sites) noexcept;

  /// The present table. Valid until the next publish(); for the writer only.
  [[nodiscard]] std::span<const HostSite> sites() const noexcept;

 private:
  struct Block {
    Block* next_retired;
    std::size_t mapped_bytes;
    std::size_t count;

    [[nodiscard]] HostSite* sites() noexcept { return reinterpret_cast<HostSite*>(this + 1); }
    [[nodiscard]] std::span<const HostSite> view() const noexcept {
      return {reinterpret_cast<const HostSite*>(this + 1), count};
    }
  };
  static_assert(alignof(HostSite) <= alignof(Block));

  /// The first table, if it is small: lies in here and is never used again.
  static constexpr std::size_t kMostAtFirst = 16;
  struct FirstBlock {
    Block block;
    std::array<HostSite, kMostAtFirst> sites;
  };
  static_assert(offsetof(FirstBlock, sites) == sizeof(Block));

  [[nodiscard]] Block* make_block(std::size_t count) noexcept;
  void unmap_retired() noexcept;

  std::atomic<Block*> current_{nullptr};
  // A thread that dies in find() leaves a count behind: old tables then stay mapped, nothing worse.
  mutable std::atomic<std::uint32_t> readers_{0};
  Block* retired_ = nullptr;
  bool first_used_ = false;
  FirstBlock first_{};
};

}  // namespace enclume::engine
