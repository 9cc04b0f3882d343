// SPDX-License-Identifier: Apache-2.0
// A line of text in a fixed buffer, for messages and trace lines made inside signal handlers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/types.h"

namespace enclume {

/// Appends text to a caller's buffer; what does not fit is cut, never overrun.
/// Signal context: safe (no allocation, no locale, no libc).
class LineBuffer {
 public:
  explicit LineBuffer(std::span<char> storage) : storage_(storage) {}

  LineBuffer& text(std::string_view s);
  LineBuffer& dec(std::uint64_t value);
  LineBuffer& dec(std::int64_t value);
  LineBuffer& dec(int value) { return dec(static_cast<std::int64_t>(value)); }
  LineBuffer& dec(unsigned value) { return dec(static_cast<std::uint64_t>(value)); }
  /// Lower-case hexadecimal with a leading 0x, at least `digits` digits.
  LineBuffer& hex(std::uint64_t value, unsigned digits = 1);
  LineBuffer& hex(LinearAddress a) { return hex(a.value()); }

  [[nodiscard]] std::string_view view() const { return {storage_.data(), used_}; }
  [[nodiscard]] bool truncated() const { return truncated_; }
  void clear() {
    used_ = 0;
    truncated_ = false;
  }

 private:
  void put(char c);

  std::span<char> storage_;
  std::size_t used_ = 0;
  bool truncated_ = false;
};

}  // namespace enclume
