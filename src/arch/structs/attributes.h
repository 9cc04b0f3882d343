// SPDX-License-Identifier: Apache-2.0
// ATTRIBUTES and MISCSELECT: what an enclave may do and which state it has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace enclume::arch {

/// ATTRIBUTES, 16 bytes (SDM Vol. 3D, "ATTRIBUTES"; Linux asm/sgx.h `enum sgx_attribute`).
struct Attributes {
  std::uint64_t flags;
  std::uint64_t xfrm;  ///< shaped as XCR0

  friend constexpr bool operator==(const Attributes&, const Attributes&) = default;
  friend constexpr Attributes operator&(const Attributes& a, const Attributes& b) {
    return {a.flags & b.flags, a.xfrm & b.xfrm};
  }
};
static_assert(sizeof(Attributes) == 16 && std::is_trivially_copyable_v<Attributes>);
static_assert(offsetof(Attributes, flags) == 0);
static_assert(offsetof(Attributes, xfrm) == 8);

/// Bits of ATTRIBUTES.flags.
namespace attribute {
inline constexpr std::uint64_t kInit = 1ULL << 0;  ///< set by EINIT
inline constexpr std::uint64_t kDebug = 1ULL << 1;
inline constexpr std::uint64_t kMode64Bit = 1ULL << 2;
inline constexpr std::uint64_t kProvisionKey = 1ULL << 4;
inline constexpr std::uint64_t kEinitTokenKey = 1ULL << 5;
inline constexpr std::uint64_t kCet = 1ULL << 6;
inline constexpr std::uint64_t kKss = 1ULL << 7;
inline constexpr std::uint64_t kAexNotify = 1ULL << 10;
}  // namespace attribute

/// Bits of XFRM that every enclave must have: x87 and SSE.
inline constexpr std::uint64_t kXfrmLegacy = 3;

/// Bits of MISCSELECT.
namespace miscselect {
inline constexpr std::uint32_t kExinfo = 1U << 0;
}  // namespace miscselect

}  // namespace enclume::arch
