// SPDX-License-Identifier: Apache-2.0
// SECINFO: permissions, state and type of a page, as software asks for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "arch/epc/epcm.h"
#include "arch/structs/bytes.h"

namespace enclume::arch {

/// Bits of SECINFO.FLAGS; PAGE_TYPE is bits 15:8.
namespace secinfo_flags {
inline constexpr std::uint64_t kR = 1ULL << 0;
inline constexpr std::uint64_t kW = 1ULL << 1;
inline constexpr std::uint64_t kX = 1ULL << 2;
inline constexpr std::uint64_t kPending = 1ULL << 3;
inline constexpr std::uint64_t kModified = 1ULL << 4;
inline constexpr std::uint64_t kPr = 1ULL << 5;
inline constexpr std::uint64_t kRwx = kR | kW | kX;
inline constexpr unsigned kTypeShift = 8;
inline constexpr std::uint64_t kTypeMask = 0xffULL << kTypeShift;
inline constexpr std::uint64_t kReserved = ~(kRwx | kPending | kModified | kPr | kTypeMask);
}  // namespace secinfo_flags

/// SECINFO, 64 bytes, 64-byte aligned (SDM Vol. 3D, "Security Information (SECINFO)"; Linux asm/sgx.h
/// `struct sgx_secinfo`).
struct Secinfo {
  std::uint64_t flags;
  Bytes<56> reserved;

  [[nodiscard]] constexpr bool has(std::uint64_t bit) const noexcept { return (flags & bit) != 0; }
  [[nodiscard]] constexpr PageType type() const noexcept {
    return static_cast<PageType>((flags & secinfo_flags::kTypeMask) >> secinfo_flags::kTypeShift);
  }
  [[nodiscard]] constexpr bool reserved_clear() const noexcept {
    return (flags & secinfo_flags::kReserved) == 0 && all_zero(reserved);
  }
  /// W asks for R: no page can be written that can't be read.
  [[nodiscard]] constexpr bool writable_unreadable() const noexcept {
    return has(secinfo_flags::kW) && !has(secinfo_flags::kR);
  }
};
static_assert(sizeof(Secinfo) == 64 && std::is_trivially_copyable_v<Secinfo>);
static_assert(offsetof(Secinfo, flags) == 0);
static_assert(offsetof(Secinfo, reserved) == 8);
inline constexpr std::uint64_t kSecinfoAlignment = 64;

[[nodiscard]] constexpr std::uint64_t secinfo_flags_of(PageType type, std::uint64_t bits) noexcept {
  return (static_cast<std::uint64_t>(type) << secinfo_flags::kTypeShift) | bits;
}

}  // namespace enclume::arch
