// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "trace/output.h"
#include "trace/stream.h"

namespace enclume::trace {

/// Writes each event as one line with one write(2): with O_APPEND, lines of threads and processes do not mix.
class TextSink final : public Sink {
 public:
  constexpr TextSink() = default;

  /// See Output::open(); before the sink is added to a stream.
  [[nodiscard]] SysResult<void> open(std::string_view path) noexcept { return output_.open(path); }

  void take(const Event& event) noexcept override;

 private:
  Output output_;
};

}  // namespace enclume::trace
