// SPDX-License-Identifier: Apache-2.0
#include "runtime/host/deadlines.h"

#include <sys/mman.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <new>
#include <thread>

#include "enclume/edge/image.h"
#include "runtime/host/incarnations.h"

namespace enclume::host {

namespace {
// What a thread has to end in once it has been told to, and between two attempts if it could not.
constexpr auto kGrace = std::chrono::milliseconds(1);
}  // namespace

// A thread that looks at the clock; there is none before the first deadline.
class Watchman {
 public:
  /// Never destroyed: calls may be under way when static objects go.
  static Watchman& instance() {
    static auto* const watchman = [] {
      auto* const made = new Watchman;
      pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                     [] { instance().begin_in_child(); });
      return made;
    }();
    return *watchman;
  }

  void start() {
    const std::lock_guard lock(mutex_);
    if (is_running_) return;
    // The program's signals are not for this thread.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      std::thread([this] { run(); }).detach();
      is_running_ = true;
    } catch (...) {
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      throw;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void add(Watch& watch) noexcept {
    const std::lock_guard lock(mutex_);
    watch.next_watch_ = first_;
    first_ = &watch;
    if (watch.next_ < awake_at_) change_.notify_one();
  }

  void remove(Watch& watch) noexcept {
    const std::lock_guard lock(mutex_);
    open_page(watch.tcs_address_);
    Watch** at = &first_;
    while (*at != &watch) at = &(*at)->next_watch_;
    *at = watch.next_watch_;
  }

  bool open(const Watch& watch) noexcept {
    const std::lock_guard lock(mutex_);
    return open_page(watch.tcs_address_);
  }

 private:
  // The thread is the parent's, and so is whoever has called but the one that has forked.
  void begin_in_child() noexcept {
    for (Watch** at = &first_; *at != nullptr;) {
      if (pthread_equal((*at)->owner_, pthread_self()) != 0) {
        at = &(*at)->next_watch_;
      } else {
        *at = (*at)->next_watch_;
      }
    }
    new (&change_) std::condition_variable;  // the parent's thread waits for the old one
    awake_at_ = Clock::time_point::max();
    is_running_ = false;
    mutex_.unlock();
  }

  static bool protect(std::uint64_t page, int protection) noexcept {
    return mprotect(reinterpret_cast<void*>(page), edge::kPageSize, protection) == 0;
  }

  // May fail where the process has as many mappings as it may have: then it is tried again.
  static void shut(Watch& watch) noexcept {
    if (!watch.is_shut_) watch.is_shut_ = protect(watch.tcs_address_, PROT_NONE);
  }

  // For all calls that one thread has under way by this TCS. Whether it was shut.
  bool open_page(std::uint64_t page) noexcept {
    bool was_shut = false;
    const auto next = Clock::now() + kGrace;
    for (Watch* watch = first_; watch != nullptr; watch = watch->next_watch_) {
      if (watch->tcs_address_ != page || !watch->is_shut_) continue;
      was_shut = true;
      watch->is_shut_ = false;
      watch->next_ = next;
    }
    if (was_shut) {
      protect(page, PROT_READ | PROT_WRITE);
      if (next < awake_at_) change_.notify_one();
    }
    return was_shut;
  }

  void run() noexcept {
    std::unique_lock lock(mutex_);
    for (;;) {
      const auto now = Clock::now();
      awake_at_ = Clock::time_point::max();
      for (Watch* watch = first_; watch != nullptr; watch = watch->next_watch_) {
        if (watch->next_ <= now) {
          watch->is_over_.store(true, std::memory_order_release);
          shut(*watch);
          watch->incarnation_.events.wake(watch->tcs_);
          watch->next_ = now + kGrace;
        }
        awake_at_ = std::min(awake_at_, watch->next_);
      }
      if (first_ == nullptr) {
        change_.wait(lock);
      } else {
        change_.wait_until(lock, awake_at_);
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable change_;
  Watch* first_ = nullptr;
  Clock::time_point awake_at_ = Clock::time_point::max();
  bool is_running_ = false;
};

void watch_deadlines() {
  Watchman::instance().start();
}

Watch::Watch(Clock::time_point deadline, Incarnation& incarnation, std::uint32_t tcs,
             std::uint64_t tcs_address) noexcept
    : incarnation_(incarnation), tcs_(tcs), tcs_address_(tcs_address), next_(deadline) {
  Watchman::instance().add(*this);
}

Watch::~Watch() {
  Watchman::instance().remove(*this);
}

bool Watch::open() noexcept {
  return Watchman::instance().open(*this);
}

}  // namespace enclume::host
