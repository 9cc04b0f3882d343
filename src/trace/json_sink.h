// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>

#include "trace/output.h"
#include "trace/stream.h"

namespace enclume::trace {

/// Writes each event as elements of a JSON array, with one write(2): with O_APPEND, those of threads and
/// processes do not mix, and whatever ends a process leaves whole elements behind. The array's beginning is
/// in the file already (see render_json.h).
class JsonSink final : public Sink {
 public:
  constexpr JsonSink() = default;

  /// See Output::open(); before the sink is added to a stream.
  [[nodiscard]] SysResult<void> open(std::string_view path) noexcept { return output_.open(path); }

  void take(const Event& event) noexcept override;

 private:
  [[nodiscard]] bool first_of_thread(int thread) noexcept;

  Output output_;
  /// Threads whose tracks have a name, by the low bits of their numbers. Two that share a place take it from
  /// each other, and their names are written again: tools do not mind.
  std::array<std::atomic<int>, 256> named_{};
};

}  // namespace enclume::trace
