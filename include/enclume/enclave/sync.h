// SPDX-License-Identifier: Apache-2.0
// Mutex and condition variable inside the enclave. Who waits leaves by an OCALL and sleeps in a futex of the
// host's; who is next stands in a queue in the enclave, and whether a lock is held is the enclave's own word.
// So a host that lies wakes threads that look around and go to sleep again, or lets them sleep; it cannot
// bring two threads into one critical section, nor make a waiter believe that it was notified.
//
// Usable with std::lock_guard, std::unique_lock and std::scoped_lock of <mutex>. A call that an exception
// ends leaves what it has locked locked (see SURVIVE_FAULTS); so does an unwinding guard.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace enclume {

namespace enclave {

/// A thread that waits, on its own stack.
struct Waiter {
  Waiter* next = nullptr;
  std::uint32_t thread = 0;
  std::atomic<bool> is_woken = false;
};

/// First come, first served. `lock` is held for some instructions only, and never outside.
struct WaitQueue {
  std::atomic<bool> lock = false;
  Waiter* first = nullptr;
  Waiter* last = nullptr;
};

inline constexpr std::uint64_t kForever = ~std::uint64_t{0};

/// Puts itself in a queue as it is made, and takes itself out at the end if nobody has.
class Waiting {
 public:
  explicit Waiting(WaitQueue& queue) noexcept;
  ~Waiting();
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  /// Sleeps until it is woken; false: the host says that the time is over, and nobody has woken it.
  bool wait(std::uint64_t nanoseconds = kForever) noexcept;

 private:
  WaitQueue& queue_;
  Waiter self_;
};

/// Of any duration, without overflow: nobody waits longer than a century.
template <typename Rep, typename Period>
constexpr std::uint64_t nanoseconds_of(std::chrono::duration<Rep, Period> time) noexcept {
  constexpr std::uint64_t kCentury = 100ULL * 365 * 86'400;
  const std::chrono::duration<double> seconds = time;
  if (!(seconds.count() > 0)) return 0;
  if (seconds.count() >= static_cast<double>(kCentury)) return kCentury * 1'000'000'000;
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
}

/// Wakes the first one; false: there was none.
bool wake_first(WaitQueue& queue) noexcept;

}  // namespace enclave

/// Not recursive. 24 bytes and no destructor, so a static one costs nothing at the start.
class Mutex {
 public:
  constexpr Mutex() noexcept = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  /// Waits outside if it must: one OCALL.
  void lock() noexcept {
    if (!try_lock()) lock_slowly();
  }
  /// Without waiting.
  [[nodiscard]] bool try_lock() noexcept {
    State free = State::kFree;
    return state_.compare_exchange_strong(free, State::kLocked, std::memory_order_acquire,
                                          std::memory_order_relaxed);
  }
  /// By the thread that has locked it. An OCALL if somebody waits.
  void unlock() noexcept {
    if (state_.exchange(State::kFree, std::memory_order_release) == State::kContended) {
      enclave::wake_first(waiters_);
    }
  }

 private:
  enum class State : std::uint32_t {
    kFree,
    kLocked,
    kContended  // locked, and there may be waiters
  };
  void lock_slowly() noexcept;

  std::atomic<State> state_ = State::kFree;
  enclave::WaitQueue waiters_;
};

/// For any lock with lock() and unlock(): std::unique_lock<Mutex>, or a Mutex. May wake without a reason, as
/// all of them may.
class ConditionVariable {
 public:
  constexpr ConditionVariable() noexcept = default;
  ConditionVariable(const ConditionVariable&) = delete;
  ConditionVariable& operator=(const ConditionVariable&) = delete;

  /// Wakes the one that has waited longest.
  void notify_one() noexcept { enclave::wake_first(waiters_); }
  /// Wakes all that wait now.
  void notify_all() noexcept;

  /// Unlocks, waits, locks again.
  template <typename Lock>
  void wait(Lock& lock) noexcept {
    // In the queue before the lock is open: a notification from then on is not lost.
    enclave::Waiting waiting(waiters_);
    lock.unlock();
    waiting.wait();
    lock.lock();
  }
  /// Until the predicate says yes.
  template <typename Lock, typename Predicate>
  void wait(Lock& lock, Predicate predicate) {
    while (!predicate()) wait(lock);
  }

  /// False: not notified in time. There is no clock in an enclave: how long it was is the host's word.
  template <typename Lock, typename Rep, typename Period>
  bool wait_for(Lock& lock, std::chrono::duration<Rep, Period> time) noexcept {
    enclave::Waiting waiting(waiters_);
    lock.unlock();
    const bool is_notified = waiting.wait(enclave::nanoseconds_of(time));
    lock.lock();
    return is_notified;
  }
  /// What the predicate says in the end. Each notification in vain begins the time anew.
  template <typename Lock, typename Rep, typename Period, typename Predicate>
  bool wait_for(Lock& lock, std::chrono::duration<Rep, Period> time, Predicate predicate) {
    while (!predicate()) {
      if (!wait_for(lock, time)) return predicate();
    }
    return true;
  }

 private:
  enclave::WaitQueue waiters_;
};

}  // namespace enclume
