// SPDX-License-Identifier: Apache-2.0
#include "trace/stream.h"

#include <linux/time.h>

#include "base/syscall.h"

namespace enclume::trace {

/// By the system call: the vDSO that the program sees may be replaced under a signal handler's feet.
std::uint64_t Stream::now() noexcept {
  struct __kernel_timespec time {};
  sys::raw(__NR_clock_gettime, CLOCK_MONOTONIC, sys::arg(&time));
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

bool Stream::add(Sink& sink) noexcept {
  for (Sink*& place : sinks_) {
    if (place == nullptr) {
      if (!on_) {
        start_ = now();
      }
      place = &sink;
      on_ = true;
      return true;
    }
  }
  return false;
}

void Stream::emit(const What& what, std::uint64_t began) const noexcept {
  const std::uint64_t clock = now();
  const Event event{sys::getpid(), sys::gettid(), clock - start_, what, clock, began};
  for (Sink* sink : sinks_) {
    if (sink != nullptr) {
      sink->take(event);
    }
  }
}

}  // namespace enclume::trace
