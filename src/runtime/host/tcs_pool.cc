// SPDX-License-Identifier: Apache-2.0
#include "runtime/host/tcs_pool.h"

#include <bit>

namespace enclume::host {

TcsPool::TcsPool(std::uint32_t count)
    : count_(count),
      word_count_((count + kBits - 1) / kBits),
      free_(std::make_unique<std::atomic<std::uint64_t>[]>(word_count_)) {
  for (std::uint32_t i = 0; i < count; ++i) free_[i / kBits] |= std::uint64_t{1} << i % kBits;
}

std::optional<std::uint32_t> TcsPool::try_take_any(std::uint32_t preferred) noexcept {
  const std::uint32_t first = preferred / kBits < word_count_ ? preferred / kBits : 0;
  for (std::uint32_t n = 0; n < word_count_; ++n) {
    const std::uint32_t word = (first + n) % word_count_;
    std::uint64_t free = free_[word].load();
    while (free != 0) {
      const std::uint64_t wish = std::uint64_t{1} << preferred % kBits;
      const std::uint64_t bit = n == 0 && (free & wish) != 0 ? wish : free & (~free + 1);
      if (free_[word].compare_exchange_weak(free, free & ~bit)) {
        return word * kBits + static_cast<std::uint32_t>(std::countr_zero(bit));
      }
    }
  }
  return std::nullopt;
}

std::optional<std::uint32_t> TcsPool::take(std::uint32_t preferred,
                                           std::optional<Clock::time_point> until) noexcept {
  if (const auto index = try_take(preferred)) return index;
  ++waiters_;
  for (bool in_time = true;;) {
    const std::uint32_t seen = returns_.load();
    const auto index = try_take(preferred);
    if (index || !in_time || all_lost()) {
      --waiters_;
      return index;
    }
    in_time = futex_wait(returns_, seen, until);
  }
}

void TcsPool::give_back(std::uint32_t index) noexcept {
  free_[index / kBits].fetch_or(std::uint64_t{1} << index % kBits);
  if (waiters_.load() != 0) {
    ++returns_;
    futex_wake_one(returns_);
  }
}

void TcsPool::lose() noexcept {
  if (lost_.fetch_add(1) + 1 < count_) return;
  ++returns_;
  futex_wake_all(returns_);
}

void TcsPool::give_back_lost(std::uint32_t index) noexcept {
  --lost_;
  give_back(index);
}

}  // namespace enclume::host
