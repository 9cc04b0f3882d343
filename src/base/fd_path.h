// SPDX-License-Identifier: Apache-2.0
// A descriptor by name.
#pragma once

#include <array>
#include <string_view>

#include "base/format.h"

namespace enclume {

/// "/proc/self/fd/N": what the descriptor is open on, for calls that take a path. Signal context: safe.
class FdPath {
 public:
  explicit FdPath(int fd) {
    LineBuffer(text_).text("/proc/self/fd/").dec(fd).text(std::string_view("\0", 1));
  }
  [[nodiscard]] const char* c_str() const { return text_.data(); }

 private:
  std::array<char, 32> text_{};
};

}  // namespace enclume
