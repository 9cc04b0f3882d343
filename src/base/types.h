// SPDX-License-Identifier: Apache-2.0
// Small vocabulary types shared by every room.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace enclume {

inline constexpr std::uint64_t kPageSize = 4096;
inline constexpr std::uint64_t kPageMask = kPageSize - 1;

/// A linear address of the running program. It is not a pointer: it may be wrong, hostile, or the
/// enclave's, so it is dereferenced only through a port that knows how.
class LinearAddress {
 public:
  constexpr LinearAddress() = default;
  constexpr explicit LinearAddress(std::uint64_t value) : value_(value) {}
  static LinearAddress of(const void* p) { return LinearAddress(reinterpret_cast<std::uint64_t>(p)); }

  [[nodiscard]] constexpr std::uint64_t value() const { return value_; }
  [[nodiscard]] constexpr LinearAddress page() const { return LinearAddress(value_ & ~kPageMask); }
  [[nodiscard]] constexpr std::uint64_t page_offset() const { return value_ & kPageMask; }
  [[nodiscard]] constexpr bool aligned(std::uint64_t alignment) const {
    return (value_ & (alignment - 1)) == 0;
  }
  /// Canonical for 48-bit linear addresses (four-level paging).
  [[nodiscard]] constexpr bool canonical() const {
    const auto top = static_cast<std::int64_t>(value_) >> 47;
    return top == 0 || top == -1;
  }

  friend constexpr auto operator<=>(LinearAddress, LinearAddress) = default;
  friend constexpr LinearAddress operator+(LinearAddress a, std::uint64_t n) {
    return LinearAddress(a.value_ + n);
  }
  friend constexpr LinearAddress operator-(LinearAddress a, std::uint64_t n) {
    return LinearAddress(a.value_ - n);
  }
  friend constexpr std::uint64_t operator-(LinearAddress a, LinearAddress b) { return a.value_ - b.value_; }

 private:
  std::uint64_t value_ = 0;
};

/// A half-open range of linear addresses.
struct LinearRange {
  LinearAddress begin;
  LinearAddress end;

  [[nodiscard]] constexpr std::uint64_t size() const { return end - begin; }
  [[nodiscard]] constexpr bool contains(LinearAddress a) const { return a >= begin && a < end; }
  [[nodiscard]] constexpr bool overlaps(LinearRange o) const { return begin < o.end && o.begin < end; }
  friend constexpr bool operator==(LinearRange, LinearRange) = default;
};

constexpr std::uint64_t align_down(std::uint64_t value, std::uint64_t alignment) {
  return value & ~(alignment - 1);
}
constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
  return align_down(value + alignment - 1, alignment);
}
constexpr bool is_power_of_two(std::uint64_t value) {
  return value != 0 && (value & (value - 1)) == 0;
}

}  // namespace enclume
