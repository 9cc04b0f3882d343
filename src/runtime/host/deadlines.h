// SPDX-License-Identifier: Apache-2.0
// Calls that may last so long and no longer. A thread that runs in an enclave comes out only when it is
// interrupted, and then Linux resumes it. So the TCS is made inaccessible for a moment (mprotect): that
// interrupts every processor that may have it in its TLB, ERESUME faults, and the vDSO function returns to
// the loop that had entered. It takes no signal, and nothing else of the process's.
#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdint>

#include "runtime/host/futex.h"

namespace enclume::host {

struct Incarnation;

/// Once there is a deadline, before the first Watch. Throws std::system_error if there can't be a thread.
void watch_deadlines();

/// A call with a deadline, while the object lives. The TCS is the caller's as long.
class Watch {
 public:
  Watch(Clock::time_point deadline, Incarnation& incarnation, std::uint32_t tcs,
        std::uint64_t tcs_address) noexcept;
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  [[nodiscard]] bool is_over() const noexcept { return is_over_.load(std::memory_order_acquire); }
  [[nodiscard]] std::uint64_t tcs_address() const noexcept { return tcs_address_; }
  /// Lets the thread in again by this TCS, if a deadline was why it could not; it has some moments to end,
  /// then it is interrupted again. Whether that was why.
  bool open() noexcept;

 private:
  friend class Watchman;
  Incarnation& incarnation_;
  const std::uint32_t tcs_;
  const std::uint64_t tcs_address_;
  std::atomic<bool> is_over_ = false;
  const pthread_t owner_ = pthread_self();
  // The watchman's:
  Watch* next_watch_ = nullptr;
  Clock::time_point next_;
  bool is_shut_ = false;
};

}  // namespace enclume::host
