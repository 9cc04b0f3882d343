// SPDX-License-Identifier: Apache-2.0
// JSON text in a fixed buffer, for signal handlers.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/format.h"

namespace enclume::trace {

/// Appends one object, member by member; nested objects share the buffer. The buffer must be big enough for
/// all (LineBuffer::truncated() tells): half an object is not JSON. Signal context: safe.
class JsonObject {
 public:
  explicit JsonObject(LineBuffer& out) : out_(out) { out_.text("{"); }

  /// A string. Any bytes: what is not UTF-8 becomes U+FFFD, and what is longer than kMaxString is cut.
  JsonObject& string(std::string_view key, std::string_view value);
  JsonObject& number(std::string_view key, std::uint64_t value);
  JsonObject& number(std::string_view key, std::int64_t value);
  /// A string that `put(line)` appends; it must need no escapes (numbers, names).
  template <typename Put>
  JsonObject& text(std::string_view key, Put put) {
    begin(key);
    out_.text("\"");
    put(out_);
    out_.text("\"");
    return *this;
  }
  /// 0x7f0000002000, as a string: JSON's numbers are doubles.
  JsonObject& hex(std::string_view key, std::uint64_t value) {
    return text(key, [=](LineBuffer& l) { l.hex(value); });
  }
  JsonObject& hex(std::string_view key, LinearAddress value) { return hex(key, value.value()); }
  /// Microseconds with three decimals.
  JsonObject& microseconds(std::string_view key, std::uint64_t nanoseconds);
  /// `fill(JsonObject&)` appends the members of the object.
  template <typename Fill>
  JsonObject& object(std::string_view key, Fill fill) {
    begin(key);
    JsonObject inner(out_);
    fill(inner);
    inner.end();
    return *this;
  }
  void end() { out_.text("}"); }

  /// Bytes of text that a string is cut to, before escapes: at most six times as many in the buffer.
  static constexpr std::size_t kMaxString = 256;

 private:
  void begin(std::string_view key);

  LineBuffer& out_;
  bool first_ = true;
};

}  // namespace enclume::trace
