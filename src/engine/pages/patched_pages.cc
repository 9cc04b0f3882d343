// SPDX-License-Identifier: Apache-2.0
#include "engine/pages/patched_pages.h"

#include <new>

namespace enclume::engine {

PatchedPage* PatchedPages::find(LinearAddress page) {
  if (count_ == 0) {
    return nullptr;
  }
  for (std::uint16_t at = buckets_[bucket_of(page)]; at != 0; at = entries_[at - 1U].next) {
    if (entries_[at - 1U].address == page) {
      return &entries_[at - 1U];
    }
  }
  return nullptr;
}

PatchedPage* PatchedPages::insert(LinearAddress page, const PageOffsets& sites) {
  std::size_t index;
  if (free_ != 0) {
    index = free_ - 1U;
    free_ = entries_[index].next;
  } else if (used_ < kCapacity) {
    index = used_++;
    new (&entries_[index]) PatchedPage{};
  } else {
    return nullptr;
  }
  PatchedPage& entry = entries_[index];
  const std::uint32_t generation = entry.generation + 1;
  std::uint16_t& head = buckets_[bucket_of(page)];
  entry = PatchedPage{};
  entry.address = page;
  entry.sites = sites;
  entry.generation = generation;
  entry.next = head;
  head = static_cast<std::uint16_t>(index + 1);
  ++count_;
  return &entry;
}

void PatchedPages::erase(LinearAddress page) {
  if (count_ == 0) {
    return;
  }
  for (std::uint16_t* link = &buckets_[bucket_of(page)]; *link != 0; link = &entries_[*link - 1U].next) {
    PatchedPage& entry = entries_[*link - 1U];
    if (entry.address == page) {
      const std::uint16_t index = *link;
      *link = entry.next;
      entry.address = LinearAddress{};
      entry.next = free_;
      free_ = index;
      --count_;
      return;
    }
  }
}

PatchedPage* PatchedPages::victim() {
  PatchedPage* held = nullptr;
  for (std::size_t i = 0; i < used_; ++i) {
    hand_ = hand_ + 1 < used_ ? hand_ + 1 : 0;
    PatchedPage& entry = entries_[hand_];
    if (is_used(entry)) {
      if (entry.holders == 0) {
        return &entry;
      }
      held = &entry;
    }
  }
  return held;
}

std::uint32_t PatchedPages::hold(PatchedPage& entry) {
  ++entry.holders;
  entry.steps_left = kHoldSteps;
  return entry.generation;
}

void PatchedPages::release(LinearAddress page, std::uint32_t generation) {
  if (PatchedPage* entry = find(page);
      entry != nullptr && entry->generation == generation && entry->holders > 0) {
    --entry->holders;
  }
}

void PatchedPages::count_step(PatchedPage& entry) {
  if (entry.steps_left > 0 && --entry.steps_left == 0) {
    entry.holders = 0;
    ++entry.generation;
  }
}

}  // namespace enclume::engine
