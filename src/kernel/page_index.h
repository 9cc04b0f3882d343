// SPDX-License-Identifier: Apache-2.0
// Which pages an enclave has: a bit a page under a tree of summaries, in the enclave's file.
#pragma once

#include <atomic>
#include <cstdint>

#include "kernel/layout.h"

namespace enclume::kernel {

/// Linux keeps an xarray; reading the page table itself instead would make a sparse file dense, since even
/// a read of a hole in shared memory allocates.
class PageIndex {
 public:
  static constexpr std::uint64_t kNone = ~0ULL;

  PageIndex() = default;
  PageIndex(const MetadataLayout& layout, std::byte* index) noexcept;

  /// Writers hold the enclave's lock.
  void insert(std::uint64_t page) noexcept;
  void erase(std::uint64_t page) noexcept;
  /// Signal context: safe.
  [[nodiscard]] bool contains(std::uint64_t page) const noexcept;
  /// The first page in the index at or after `page`; kNone if there is none.
  [[nodiscard]] std::uint64_t next(std::uint64_t page) const noexcept;
  /// The first page not in the index at or after `page`, at most `limit`.
  [[nodiscard]] std::uint64_t next_absent(std::uint64_t page, std::uint64_t limit) const noexcept;

 private:
  std::atomic<std::uint64_t>* level_[kIndexLevels]{};
  std::uint64_t words_[kIndexLevels]{};
  /// The page of the lowest level's memory that contains() has read last: it is there, so that reading it
  /// once more, without a look at the summaries, allocates nothing. Private to the process, racy and a hint.
  mutable std::uint64_t dense_ = kNone;
};

}  // namespace enclume::kernel
