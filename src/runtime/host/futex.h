// SPDX-License-Identifier: Apache-2.0
// To wait for a word to change, until a time: std::atomic has no such wait.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <optional>

namespace enclume::host {

using Clock = std::chrono::steady_clock;

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

/// Sleeps while `word` is `value`, or shorter. False: it is later than `until`.
inline bool futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t value,
                       std::optional<Clock::time_point> until) noexcept {
  timespec time{};
  if (until) {
    const auto since =
        std::chrono::duration_cast<std::chrono::nanoseconds>(until->time_since_epoch()).count();
    time = {.tv_sec = since / 1'000'000'000, .tv_nsec = since % 1'000'000'000};
  }
  return syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, value, until ? &time : nullptr,
                 nullptr, FUTEX_BITSET_MATCH_ANY) == 0 ||
         errno != ETIMEDOUT;
}

inline void futex_wake_all(std::atomic<std::uint32_t>& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, nullptr, nullptr, 0);
}

inline void futex_wake_one(std::atomic<std::uint32_t>& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0);
}

}  // namespace enclume::host
