// SPDX-License-Identifier: Apache-2.0
// An event for each thread of an enclave, to sleep until another one wakes it: the host's part of
// enclume/enclave/sync.h. An event that comes before its thread sleeps is kept, once.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace enclume::host {

class Events {
 public:
  explicit Events(std::uint32_t count) : count_(count), events_(std::make_unique<Event[]>(count)) {}

  /// Waits for the event and takes it; false: `nanoseconds` were over first. All ones: no limit, but now and
  /// then it returns for nothing, since only who enters the enclave notices that it is lost.
  [[nodiscard]] bool wait(std::uint32_t index, std::uint64_t nanoseconds) noexcept;
  /// An index that does not exist is ignored.
  void wake(std::uint64_t index) noexcept;
  void wake_all() noexcept {
    for (std::uint32_t index = 0; index < count_; ++index) wake(index);
  }

 private:
  struct alignas(64) Event {
    std::atomic<std::uint32_t> has_come = 0;
  };
  std::uint32_t count_;
  std::unique_ptr<Event[]> events_;
};

}  // namespace enclume::host
