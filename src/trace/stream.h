// SPDX-License-Identifier: Apache-2.0
// The one stream of events of a process, and who listens to it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "trace/event.h"

namespace enclume::trace {

/// Takes events one by one: text now, other forms by other sinks. Called on the thread that an event happened
/// on, perhaps in a signal handler, perhaps on many threads at once: no locks, no allocation, no libc.
class Sink {
 public:
  virtual void take(const Event& event) noexcept = 0;

 protected:
  ~Sink() = default;
};

class Stream {
 public:
  /// Whether anybody listens: the one thing that an event costs when nobody does. Signal context: safe.
  [[nodiscard]] bool on() const noexcept { return on_; }

  /// Time starts with the first sink. The sink lives as long as the process. False if there are kMaxSinks.
  /// Signal context: unsafe; before the program's first instruction.
  bool add(Sink& sink) noexcept;

  /// Gives the event to every sink, with the thread and the time of now. `began` is a now() of before, for
  /// what takes time. Signal context: safe.
  void emit(const What& what, std::uint64_t began = 0) const noexcept;

  /// CLOCK_MONOTONIC in nanoseconds. Signal context: safe.
  [[nodiscard]] static std::uint64_t now() noexcept;

  static constexpr std::size_t kMaxSinks = 4;

 private:
  std::array<Sink*, kMaxSinks> sinks_{};
  std::uint64_t start_ = 0;
  bool on_ = false;
};

}  // namespace enclume::trace
