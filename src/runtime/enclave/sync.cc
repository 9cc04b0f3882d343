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
    while (queue_.lock.exchange(true, std::memory_order_acquire)) __builtin_ia32_pause();
  }
  ~QueueLock() { queue_.lock.store(false, std::memory_order_release); }
  QueueLock(const QueueLock&) = delete;
  QueueLock& operator=(const QueueLock&) = delete;

 private:
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

// Sleeps until woken: this thread's events are counted by the host, so one that comes first is not lost.
// False: the time is over, or so the host says.
bool sleep(std::uint64_t nanoseconds) noexcept {
  std::uint64_t word = nanoseconds;
  if (call_host(ENCLUME_OCALL_SLEEP, word) != Code::kOk) {
    // A host that doesn't let it sleep: it goes on looking.
    __builtin_ia32_pause();
    return nanoseconds == kForever;
  }
  return word == 0;
}

void wake(std::uint32_t thread) noexcept {
  std::uint64_t word = thread;
  // A host that doesn't wake it can't be helped.
  static_cast<void>(call_host(ENCLUME_OCALL_WAKE, word));
}

void wait_until_woken(const Waiter& waiter) noexcept {
  while (!waiter.is_woken.load(std::memory_order_acquire)) static_cast<void>(sleep(kForever));
}

}  // namespace

Waiting::Waiting(WaitQueue& queue) noexcept : queue_(queue) {
  self_.thread = static_cast<std::uint32_t>(this_thread().seed_index);
  const QueueLock lock(queue_);
  append(queue_, self_);
}

Waiting::~Waiting() {
  if (!self_.is_woken.load(std::memory_order_acquire)) leave_queue();
}

bool Waiting::leave_queue() noexcept {
  const QueueLock lock(queue_);
  Waiter* before = nullptr;
  for (Waiter* at = queue_.first; at != nullptr; before = at, at = at->next) {
    if (at != &self_) continue;
    (before == nullptr ? queue_.first : before->next) = self_.next;
    if (queue_.last == &self_) queue_.last = before;
    self_.is_woken.store(true, std::memory_order_relaxed);
    return true;
  }
  return false;
}

bool Waiting::wait(std::uint64_t nanoseconds) noexcept {
  while (!self_.is_woken.load(std::memory_order_acquire)) {
    // Who has been notified at the last moment must say so, or nobody would act on it.
    if (!sleep(nanoseconds) && nanoseconds != kForever) return !leave_queue();
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
    wait_until_woken(self);
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
