// SPDX-License-Identifier: Apache-2.0
#include "base/format.h"

#include <array>

namespace enclume {

void LineBuffer::put(char c) {
  if (used_ < storage_.size()) {
    storage_[used_++] = c;
  } else {
    truncated_ = true;
  }
}

LineBuffer& LineBuffer::text(std::string_view s) {
  for (const char c : s) {
    put(c);
  }
  return *this;
}

LineBuffer& LineBuffer::dec(std::uint64_t value) {
  std::array<char, 20> digits;
  std::size_t n = 0;
  do {
    digits[n++] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  while (n > 0) {
    put(digits[--n]);
  }
  return *this;
}

LineBuffer& LineBuffer::dec(std::int64_t value) {
  if (value < 0) {
    put('-');
    return dec(~static_cast<std::uint64_t>(value) + 1);
  }
  return dec(static_cast<std::uint64_t>(value));
}

LineBuffer& LineBuffer::hex(std::uint64_t value, unsigned digits) {
  put('0');
  put('x');
  unsigned shift = 60;
  while (shift > 0 && (value >> shift) == 0 && shift / 4 >= digits) {
    shift -= 4;
  }
  for (;; shift -= 4) {
    put("0123456789abcdef"[(value >> shift) & 0xf]);
    if (shift == 0) {
      return *this;
    }
  }
}

}  // namespace enclume
