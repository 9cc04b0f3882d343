// SPDX-License-Identifier: Apache-2.0
#include "base/lock.h"

#include <linux/futex.h>
#include <linux/time_types.h>

#include <cstddef>

#include "base/syscall.h"

namespace enclume {

namespace {

/// Whether the thread, of another process, has ended and its parent does not know yet: it can be sent
/// signals, and has no memory any more. (Asked without a descriptor: what is at address 0 does not matter.)
bool is_zombie(int tid) {
  struct Vector {
    void* at;
    std::size_t size;
  };
  char byte;
  const Vector here{&byte, 1};
  const Vector there{nullptr, 1};
  return sys::raw(__NR_process_vm_readv, tid, sys::arg(&here), 1, sys::arg(&there), 1, 0) == -ESRCH;
}

/// Looks at a lock that is held before a thread goes to sleep: a few microseconds. Most are held for less
/// than a sleep and the waking take, and in a virtual machine whose processor has gone idle that is fifty.
constexpr int kLooks = 200;

}  // namespace

bool thread_is_gone(int tid) noexcept {
  if (sys::raw(__NR_tgkill, sys::getpid(), tid, 0) == 0) {
    return false;
  }
  return sys::raw(__NR_tkill, tid, 0) == -ESRCH || is_zombie(tid);
}

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
    if ((seen & kOwner) == me) {
      // No thread takes it twice: a child of vfork that went by our id has died with it.
      if (word_.compare_exchange_strong(seen, me | kWaiters, std::memory_order_acquire)) {
        return false;
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
    if (r == -ETIMEDOUT && thread_is_gone(static_cast<int>(seen & kOwner)) &&
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
