// SPDX-License-Identifier: Apache-2.0
// Which of an enclave's TCS are free. Taking and giving back is one atomic operation each; who has to wait
// sleeps.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "runtime/host/futex.h"

namespace enclume::host {

class TcsPool {
 public:
  explicit TcsPool(std::uint32_t count);

  /// A free one, `preferred` if that is; nothing if none is.
  [[nodiscard]] std::optional<std::uint32_t> try_take(std::uint32_t preferred) noexcept {
    if (preferred / kBits < word_count_) {
      std::atomic<std::uint64_t>& word = free_[preferred / kBits];
      const std::uint64_t wish = std::uint64_t{1} << preferred % kBits;
      std::uint64_t free = word.load(std::memory_order_relaxed);
      if ((free & wish) != 0 && word.compare_exchange_strong(free, free & ~wish)) return preferred;
    }
    return try_take_any(preferred);
  }
  /// Waits for one; nothing if there is none until then, or if there will be none since all are lost.
  [[nodiscard]] std::optional<std::uint32_t> take(std::uint32_t preferred,
                                                  std::optional<Clock::time_point> until) noexcept;
  void give_back(std::uint32_t index) noexcept;
  /// One that is taken can't be used any more, until give_back_lost().
  void lose() noexcept;
  void give_back_lost(std::uint32_t index) noexcept;
  [[nodiscard]] bool all_lost() const noexcept { return lost_.load() >= count_; }
  [[nodiscard]] bool is_free(std::uint32_t index) const noexcept {
    return (free_[index / kBits].load() >> index % kBits & 1) != 0;
  }

 private:
  static constexpr std::uint32_t kBits = 64;
  [[nodiscard]] std::optional<std::uint32_t> try_take_any(std::uint32_t preferred) noexcept;

  const std::uint32_t count_;
  std::uint32_t word_count_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> free_;
  std::atomic<std::uint32_t> returns_ = 0;  // counts what was given back while somebody waited
  std::atomic<std::uint32_t> waiters_ = 0;
  std::atomic<std::uint32_t> lost_ = 0;
};

}  // namespace enclume::host
