// SPDX-License-Identifier: Apache-2.0
// A futex lock that knows its owner, can live in memory shared between processes, and survives the
// death of its owner. libc's robust mutexes need TLS and a robust list that raw threads do not have.
#pragma once

#include <atomic>
#include <cstdint>

namespace enclume {

/// Whether a thread of any process runs no more. One in another pid namespace looks as if it were gone; such
/// sharing (an enclave's descriptor passed into a container while both sides use it) is not supported. Signal
/// context: safe.
[[nodiscard]] bool thread_is_gone(int tid) noexcept;

/// Zero-initialised memory is an unlocked lock. The word holds the owner's thread id; bit 31 says that
/// somebody waits.
///
/// Signal context: unsafe. A thread takes it only with its signals blocked (or from a handler that can't
/// have interrupted a holder), else a handler on the same thread would wait for itself.
class OwnerLock {
 public:
  /// Waits until the lock is ours. Returns false if the previous owner died holding it: the lock is ours,
  /// but what it guards may be half changed.
  [[nodiscard]] bool lock(int tid) noexcept;
  [[nodiscard]] bool try_lock(int tid) noexcept;
  void unlock() noexcept;
  /// After fork, in the child: forgets an owner that exists only in the parent. For locks in memory that
  /// is private to the process.
  void reset_in_child() noexcept { word_.store(0, std::memory_order_relaxed); }
  [[nodiscard]] bool held_by(int tid) const noexcept {
    return (word_.load(std::memory_order_relaxed) & kOwner) == static_cast<std::uint32_t>(tid);
  }

 private:
  static constexpr std::uint32_t kWaiters = 1U << 31;
  static constexpr std::uint32_t kOwner = ~kWaiters;

  std::atomic<std::uint32_t> word_{0};
};
static_assert(sizeof(OwnerLock) == 4 && std::atomic<std::uint32_t>::is_always_lock_free);

/// Holds an OwnerLock for a scope.
class OwnerLockGuard {
 public:
  OwnerLockGuard(OwnerLock& lock, int tid) noexcept : lock_(lock), clean_(lock.lock(tid)) {}
  ~OwnerLockGuard() { lock_.unlock(); }
  OwnerLockGuard(const OwnerLockGuard&) = delete;
  OwnerLockGuard& operator=(const OwnerLockGuard&) = delete;
  /// False if the previous owner died while it held the lock.
  [[nodiscard]] bool clean() const noexcept { return clean_; }

 private:
  OwnerLock& lock_;
  bool clean_;
};

}  // namespace enclume
