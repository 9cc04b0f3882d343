// SPDX-License-Identifier: Apache-2.0
#include "enclume/enclave/sync.h"

#include <array>
#include <bit>

#include "enclume/edge/abi.h"
#include "runtime/enclave/self.h"

namespace enclume::enclave {
namespace {

// Before a thread goes to sleep, which costs two transitions and a system call.
constexpr unsigned kSpins = 100;

class QueueLock {
 public:
  explicit QueueLock(WaitQueue& queue) noexcept : queue_(queue) {
    while (queue_.lock.exchange(true, std::memory_order_acquire)) wait_a_little();
  }
  ~QueueLock() { queue_.lock.store(false, std::memory_order_release); }
  QueueLock(const QueueLock&) = delete;
  QueueLock& operator=(const QueueLock&) = delete;

 private:
  const Critical critical_;
  WaitQueue& queue_;
};

void append(WaitQueue& queue, Waiter& waiter) noexcept {
  waiter.next = nullptr;
  (queue.first == nullptr ? queue.first : queue.last->next) = &waiter;
  queue.last = &waiter;
}

// The first one, out of the queue and marked; or null.
bool take_first(WaitQueue& queue, std::uint32_t& thread) noexcept {
  const QueueLock lock(queue);
  Waiter* const waiter = queue.first;
  if (waiter == nullptr) return false;
  queue.first = waiter->next;
  thread = waiter->thread;
  // From here on it may be gone.
  waiter->is_woken.store(true, std::memory_order_release);
  return true;
}

enum class Slept {
  kWoken,     // or for nothing
  kTimeout,   // or so the host says
  kCallOver,  // the call has had its time, or the enclave has ended: out of the queue, and end it
};

// This thread's event is kept by the host if it comes first, so it is not lost. In a critical section.
Slept sleep(std::uint64_t nanoseconds) noexcept {
  std::uint64_t word = nanoseconds;
  const Code code = call_host(ENCLUME_OCALL_SLEEP, word);
  if (code == Code::kDeadline || has_crashed()) return Slept::kCallOver;
  if (code != Code::kOk) {
    // A host that doesn't let it sleep: it goes on looking.
    __builtin_ia32_pause();
    return nanoseconds == kForever ? Slept::kWoken : Slept::kTimeout;
  }
  return word == 0 ? Slept::kWoken : Slept::kTimeout;
}

// Whoever called is in no queue any more.
void abandon_call() noexcept {
  this_thread().critical = 0;
  end_if_crashed();
  end_over_time();
}

void wake(std::uint32_t thread) noexcept {
  const Critical critical;
  std::uint64_t word = thread;
  // A host that doesn't wake it can't be helped.
  static_cast<void>(call_host(ENCLUME_OCALL_WAKE, word));
}

// False: it was not in the queue any more, that is, woken.
bool remove(WaitQueue& queue, Waiter& waiter) noexcept {
  const QueueLock lock(queue);
  Waiter* before = nullptr;
  for (Waiter* at = queue.first; at != nullptr; before = at, at = at->next) {
    if (at != &waiter) continue;
    (before == nullptr ? queue.first : before->next) = waiter.next;
    if (queue.last == &waiter) queue.last = before;
    waiter.is_woken.store(true, std::memory_order_relaxed);
    return true;
  }
  return false;
}

}  // namespace

Waiting::Waiting(WaitQueue& queue) noexcept : queue_(queue) {
  // Until the end: somebody in the enclave knows where this thread's stack is.
  ++this_thread().critical;
  self_.thread = static_cast<std::uint32_t>(this_thread().seed_index);
  const QueueLock lock(queue_);
  append(queue_, self_);
}

Waiting::~Waiting() {
  if (!self_.is_woken.load(std::memory_order_acquire)) remove(queue_, self_);
  --this_thread().critical;
}

bool Waiting::wait(std::uint64_t nanoseconds) noexcept {
  while (!self_.is_woken.load(std::memory_order_acquire)) {
    switch (sleep(nanoseconds)) {
      case Slept::kWoken:
        break;
      case Slept::kTimeout:
        // Who has been notified at the last moment must say so, or nobody would act on it.
        if (nanoseconds != kForever) return !remove(queue_, self_);
        break;
      case Slept::kCallOver:
        // The same: then it is for the next one.
        if (!remove(queue_, self_)) wake_first(queue_);
        abandon_call();
        break;
    }
  }
  return true;
}

bool wake_first(WaitQueue& queue) noexcept {
  std::uint32_t thread;
  if (!take_first(queue, thread)) return false;
  wake(thread);
  return true;
}

}  // namespace enclume::enclave

namespace enclume {

void Mutex::lock_slowly() noexcept {
  using namespace enclave;
  for (unsigned i = 0; i < kSpins; ++i) {
    if (state_.load(std::memory_order_relaxed) == State::kFree && try_lock()) return;
    __builtin_ia32_pause();
  }
  const Critical critical;
  Waiter self;
  self.thread = static_cast<std::uint32_t>(this_thread().seed_index);
  for (;;) {
    {
      const QueueLock lock(waiters_);
      // Whoever unlocks from here on sees that there are waiters, and looks for them when the queue is open.
      // Who gets the mutex here says so, too, for those behind it.
      if (state_.exchange(State::kContended, std::memory_order_acquire) == State::kFree) return;
      self.is_woken.store(false, std::memory_order_relaxed);
      append(waiters_, self);
    }
    while (!self.is_woken.load(std::memory_order_acquire)) {
      if (sleep(kForever) != Slept::kCallOver) continue;
      if (!remove(waiters_, self)) wake_first(waiters_);
      abandon_call();
    }
  }
}

void ConditionVariable::notify_all() noexcept {
  // Those that are there now, and not those that come back meanwhile. Once they are marked they may be gone,
  // so only their numbers are kept.
  std::array<std::uint64_t, edge::kMaxThreads / 64> threads{};
  {
    const enclave::QueueLock lock(waiters_);
    for (enclave::Waiter* at = waiters_.first; at != nullptr;) {
      threads[at->thread / 64] |= std::uint64_t{1} << at->thread % 64;
      enclave::Waiter* const next = at->next;
      at->is_woken.store(true, std::memory_order_release);
      at = next;
    }
    waiters_.first = waiters_.last = nullptr;
  }
  for (std::uint32_t word = 0; word < threads.size(); ++word) {
    for (std::uint64_t left = threads[word]; left != 0; left &= left - 1) {
      enclave::wake(word * 64 + static_cast<std::uint32_t>(std::countr_zero(left)));
    }
  }
}

}  // namespace enclume
