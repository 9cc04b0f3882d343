// SPDX-License-Identifier: Apache-2.0
#include "base/lock.h"

#include <linux/futex.h>
#include <linux/time_types.h>

#include "base/syscall.h"

namespace enclume {

namespace {

// A tid in another pid namespace looks dead; such sharing (an enclave's descriptor passed into a
// container while both sides use it) is not supported.
bool thread_is_gone(std::uint32_t tid) {
  return sys::raw(__NR_tkill, static_cast<long>(tid), 0) == -ESRCH;
}

/// Looks at a lock that is held before a thread goes to sleep: a few microseconds. Most are held for less
/// than a sleep and the waking take, and in a virtual machine whose processor has gone idle that is fifty.
constexpr int kLooks = 200;

}  // namespace

bool OwnerLock::try_lock(int tid) noexcept {
  std::uint32_t expected = 0;
  return word_.compare_exchange_strong(expected, static_cast<std::uint32_t>(tid), std::memory_order_acquire);
}

bool OwnerLock::lock(int tid) noexcept {
  const auto me = static_cast<std::uint32_t>(tid);
  if (try_lock(tid)) {
    return true;
  }
  for (int looks = 0; looks < kLooks; ++looks) {
    __builtin_ia32_pause();
    if (word_.load(std::memory_order_relaxed) == 0 && try_lock(tid)) {
      return true;
    }
  }
  for (;;) {
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    if (seen == 0) {
      // Others may still sleep on the word: keep the mark, so that unlock wakes one.
      if (word_.compare_exchange_weak(seen, me | kWaiters, std::memory_order_acquire)) {
        return true;
      }
      continue;
    }
    if ((seen & kWaiters) == 0) {
      if (!word_.compare_exchange_weak(seen, seen | kWaiters, std::memory_order_relaxed)) {
        continue;
      }
      seen |= kWaiters;
    }
    // The time-out only bounds how long a dead owner goes unnoticed.
    const __kernel_timespec wait{0, 50'000'000};
    const long r =
        sys::raw(__NR_futex, sys::arg(&word_), FUTEX_WAIT, static_cast<long>(seen), sys::arg(&wait));
    if (r == -ETIMEDOUT && thread_is_gone(seen & kOwner) &&
        word_.compare_exchange_strong(seen, me | kWaiters, std::memory_order_acquire)) {
      return false;
    }
  }
}

void OwnerLock::unlock() noexcept {
  if ((word_.exchange(0, std::memory_order_release) & kWaiters) != 0) {
    sys::raw(__NR_futex, sys::arg(&word_), FUTEX_WAKE, 1);
  }
}

}  // namespace enclume
