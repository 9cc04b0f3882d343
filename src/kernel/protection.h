// SPDX-License-Identifier: Apache-2.0
// Read, write and execute permission as one small value, with the bits of mmap's `prot`.
#pragma once

#include <cstdint>

namespace enclume::kernel {

/// PROT_READ, PROT_WRITE, PROT_EXEC (asm-generic/mman-common.h): the numbers are the same, so that a value
/// goes to mprotect as it is.
class Protection {
 public:
  constexpr Protection() = default;
  /// Bits other than R, W and X are dropped.
  static constexpr Protection of(unsigned bits) { return Protection(static_cast<std::uint8_t>(bits & 7)); }

  [[nodiscard]] constexpr unsigned bits() const { return bits_; }
  [[nodiscard]] constexpr bool none() const { return bits_ == 0; }
  [[nodiscard]] constexpr bool readable() const { return (bits_ & 1) != 0; }
  [[nodiscard]] constexpr bool writable() const { return (bits_ & 2) != 0; }
  [[nodiscard]] constexpr bool executable() const { return (bits_ & 4) != 0; }
  /// Whether all of `other` is allowed by this.
  [[nodiscard]] constexpr bool covers(Protection other) const { return (other.bits_ & ~bits_) == 0; }

  friend constexpr Protection operator&(Protection a, Protection b) { return of(a.bits() & b.bits()); }
  friend constexpr Protection operator|(Protection a, Protection b) { return of(a.bits() | b.bits()); }
  friend constexpr bool operator==(Protection, Protection) = default;

 private:
  constexpr explicit Protection(std::uint8_t bits) : bits_(bits) {}
  std::uint8_t bits_ = 0;
};

inline constexpr Protection kProtNone = Protection::of(0);
inline constexpr Protection kProtRead = Protection::of(1);
inline constexpr Protection kProtWrite = Protection::of(2);
inline constexpr Protection kProtExec = Protection::of(4);
inline constexpr Protection kProtReadWrite = Protection::of(3);
inline constexpr Protection kProtAll = Protection::of(7);

}  // namespace enclume::kernel
