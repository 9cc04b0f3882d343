// SPDX-License-Identifier: Apache-2.0
#include "runtime/host/events.h"

#include <algorithm>

#include "runtime/host/futex.h"

namespace enclume::host {
namespace {

constexpr std::uint64_t kForever = ~std::uint64_t{0};
constexpr auto kLookAround = std::chrono::seconds(1);
// What a clock can be set forward by without overflow; nobody waits that long.
constexpr std::uint64_t kCentury = 100ULL * 365 * 86'400 * 1'000'000'000;

}  // namespace

bool Events::wait(std::uint32_t index, std::uint64_t nanoseconds) noexcept {
  std::atomic<std::uint32_t>& has_come = events_[index].has_come;
  const bool has_limit = nanoseconds != kForever;
  const auto until =
      Clock::now() + (has_limit ? std::chrono::nanoseconds(std::min(nanoseconds, kCentury)) : kLookAround);
  for (;;) {
    if (has_come.exchange(0, std::memory_order_acquire) != 0) return true;
    if (!futex_wait(has_come, 0, until)) {
      return has_come.exchange(0, std::memory_order_acquire) != 0 || !has_limit;
    }
  }
}

void Events::wake(std::uint64_t index) noexcept {
  if (index >= count_) return;
  std::atomic<std::uint32_t>& has_come = events_[index].has_come;
  if (has_come.exchange(1, std::memory_order_release) == 0) futex_wake_one(has_come);
}

}  // namespace enclume::host
