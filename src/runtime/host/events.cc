// SPDX-License-Identifier: Apache-2.0
#include "runtime/host/events.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

namespace enclume::host {
namespace {

constexpr std::uint64_t kForever = ~std::uint64_t{0};
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kLookAround = kSecond;

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

// std::atomic has no wait with a time.
long futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value, const timespec* until) {
  return syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, value, until, nullptr,
                 FUTEX_BITSET_MATCH_ANY);
}

timespec after(std::uint64_t nanoseconds) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const std::uint64_t rest = static_cast<std::uint64_t>(now.tv_nsec) + nanoseconds % kSecond;
  return {.tv_sec = now.tv_sec + static_cast<time_t>(nanoseconds / kSecond + rest / kSecond),
          .tv_nsec = static_cast<long>(rest % kSecond)};
}

}  // namespace

bool Events::wait(std::uint32_t index, std::uint64_t nanoseconds) noexcept {
  std::atomic<std::uint32_t>& has_come = events_[index].has_come;
  const bool has_limit = nanoseconds != kForever;
  const timespec until = after(has_limit ? nanoseconds : kLookAround);
  for (;;) {
    if (has_come.exchange(0, std::memory_order_acquire) != 0) return true;
    if (futex(has_come, FUTEX_WAIT_BITSET, 0, &until) != 0 && errno == ETIMEDOUT) {
      return has_come.exchange(0, std::memory_order_acquire) != 0 || !has_limit;
    }
  }
}

void Events::wake(std::uint64_t index) noexcept {
  if (index >= count_) return;
  std::atomic<std::uint32_t>& has_come = events_[index].has_come;
  if (has_come.exchange(1, std::memory_order_release) == 0) futex(has_come, FUTEX_WAKE, 1, nullptr);
}

}  // namespace enclume::host
