// SPDX-License-Identifier: Apache-2.0
// Reading and writing ELF structures in byte spans, never past their ends, with no alignment assumed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/types.h"

namespace enclume::kernel {

/// Copies a T out of `bytes` at `offset`; false if it does not lie inside. Signal context: safe.
template <typename T>
[[nodiscard]] bool load(std::span<const std::byte> bytes, std::uint64_t offset, T& value) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) {
    return false;
  }
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return true;
}

/// The subspan [offset, offset + size), empty if it does not lie inside. Signal context: safe.
[[nodiscard]] inline std::span<const std::byte> slice(std::span<const std::byte> bytes, std::uint64_t offset,
                                                      std::uint64_t size) noexcept {
  if (offset > bytes.size() || bytes.size() - offset < size) {
    return {};
  }
  return bytes.subspan(offset, size);
}

/// Appends to a caller's buffer. A write that does not fit is left out and remembered: callers write on
/// and ask once, at the end, whether all of it fitted. Signal context: safe.
class ByteWriter {
 public:
  explicit ByteWriter(std::span<std::byte> out) noexcept : out_(out) {}

  /// Where the next byte goes.
  [[nodiscard]] std::size_t place() const noexcept { return place_; }
  [[nodiscard]] bool overflowed() const noexcept { return overflowed_; }

  void align(std::size_t alignment) noexcept { zeros(align_up(place_, alignment) - place_); }

  void zeros(std::size_t count) noexcept {
    if (reserve(count)) {
      std::memset(out_.data() + place_, 0, count);
      place_ += count;
    }
  }

  void bytes(std::span<const std::byte> source) noexcept {
    if (reserve(source.size()) && !source.empty()) {
      std::memcpy(out_.data() + place_, source.data(), source.size());
      place_ += source.size();
    }
  }

  template <typename T>
  void put(const T& value) noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes(std::as_bytes(std::span(&value, 1)));
  }

  /// Appends the text and a NUL.
  void string(std::string_view text) noexcept {
    bytes(std::as_bytes(std::span(text)));
    put('\0');
  }

  /// Overwrites what was appended before, at `offset`.
  template <typename T>
  void patch(std::size_t offset, const T& value) noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    if (offset > place_ || place_ - offset < sizeof(T)) {
      overflowed_ = true;
      return;
    }
    std::memcpy(out_.data() + offset, &value, sizeof(T));
  }

 private:
  [[nodiscard]] bool reserve(std::size_t count) noexcept {
    overflowed_ = overflowed_ || out_.size() - place_ < count;
    return !overflowed_;
  }

  std::span<std::byte> out_;
  std::size_t place_ = 0;
  bool overflowed_ = false;
};

}  // namespace enclume::kernel
