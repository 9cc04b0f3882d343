// SPDX-License-Identifier: Apache-2.0
#include "kernel/page_index.h"

#include <algorithm>
#include <bit>

namespace enclume::kernel {

namespace {
constexpr std::uint64_t bit(std::uint64_t position) {
  return 1ULL << (position % 64);
}
constexpr std::uint64_t from(std::uint64_t position) {
  return ~0ULL << (position % 64);
}
}  // namespace

PageIndex::PageIndex(const MetadataLayout& layout, std::byte* index) noexcept {
  auto* words = reinterpret_cast<std::atomic<std::uint64_t>*>(index);
  for (unsigned level = 0; level < kIndexLevels; ++level) {
    level_[level] = words + layout.index_level[level];
    words_[level] = layout.index_words[level];
  }
}

void PageIndex::insert(std::uint64_t page) noexcept {
  // Lowest level first: a reader that sees a summary finds what it announces.
  std::uint64_t position = page;
  for (unsigned level = 0; level < kIndexLevels; ++level) {
    const std::uint64_t before = level_[level][position / 64].fetch_or(bit(position));
    if (before != 0) {
      return;  // the summaries above are set already
    }
    position /= 64;
  }
}

void PageIndex::erase(std::uint64_t page) noexcept {
  std::uint64_t position = page;
  for (unsigned level = 0; level < kIndexLevels; ++level) {
    const std::uint64_t left = level_[level][position / 64].fetch_and(~bit(position)) & ~bit(position);
    if (left != 0) {
      return;
    }
    position /= 64;
  }
}

bool PageIndex::contains(std::uint64_t page) const noexcept {
  const std::atomic<std::uint64_t>& word = level_[0][page / 64];
  const std::uint64_t memory = reinterpret_cast<std::uint64_t>(&word) / kPageSize;
  const std::atomic_ref dense(dense_);
  if (dense.load(std::memory_order_relaxed) != memory) {
    // From the top, so that the answer for an empty stretch touches no memory of the lowest level.
    for (unsigned level = kIndexLevels; --level > 0;) {
      const std::uint64_t position = page >> (6 * level);
      if ((level_[level][position / 64].load(std::memory_order_acquire) & bit(position)) == 0) {
        return false;
      }
    }
    dense.store(memory, std::memory_order_relaxed);
  }
  return (word.load(std::memory_order_acquire) & bit(page)) != 0;
}

std::uint64_t PageIndex::next(std::uint64_t page) const noexcept {
  std::uint64_t position = page;
  unsigned level = 0;
  // Start at the highest level whose word is the first that could tell anything: the lower ones of an empty
  // stretch are not looked at, since a look would allocate them.
  while (level + 1 < kIndexLevels && position / 64 < words_[level] &&
         (level_[level + 1][position / 64 / 64].load(std::memory_order_acquire) & bit(position / 64)) == 0) {
    position = position / 64 + 1;
    ++level;
  }
  for (;;) {
    // Up until a word has a bit at or after the position.
    std::uint64_t word = 0;
    for (;;) {
      if (position / 64 >= words_[level]) {
        return kNone;
      }
      word = level_[level][position / 64].load(std::memory_order_acquire) & from(position);
      if (word != 0) {
        break;
      }
      if (level + 1 < kIndexLevels) {
        ++level;
        position = position / 64 + 1;
      } else {
        position = (position / 64 + 1) * 64;
      }
    }
    position = align_down(position, 64) + static_cast<unsigned>(std::countr_zero(word));
    if (level == 0) {
      return position;
    }
    // Down by one. The word below may be empty if its last page is being erased now: then the loop above
    // goes on behind it.
    --level;
    position *= 64;
  }
}

std::uint64_t PageIndex::next_absent(std::uint64_t page, std::uint64_t limit) const noexcept {
  while (page < limit) {
    if (!contains(page)) {
      return page;
    }
    const std::uint64_t absent = ~level_[0][page / 64].load(std::memory_order_acquire) & from(page);
    if (absent != 0) {
      return std::min(limit, align_down(page, 64) + static_cast<unsigned>(std::countr_zero(absent)));
    }
    page = align_down(page, 64) + 64;
  }
  return limit;
}

}  // namespace enclume::kernel
