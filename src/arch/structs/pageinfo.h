// SPDX-License-Identifier: Apache-2.0
// PAGEINFO: the operands of leaves that move a page into or out of the EPC.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace enclume::arch {

/// PAGEINFO, 32 bytes, 32-byte aligned (SDM Vol. 3D, "Page Information (PAGEINFO)"; Linux asm/sgx.h
/// `struct sgx_pageinfo`). All fields are linear addresses.
struct Pageinfo {
  std::uint64_t linaddr;
  std::uint64_t srcpge;
  std::uint64_t secinfo;  ///< SECINFO, or PCMD for EWB, ELDU and ELDB
  std::uint64_t secs;
};
static_assert(sizeof(Pageinfo) == 32 && std::is_trivially_copyable_v<Pageinfo>);
static_assert(offsetof(Pageinfo, linaddr) == 0);
static_assert(offsetof(Pageinfo, srcpge) == 8);
static_assert(offsetof(Pageinfo, secinfo) == 16);
static_assert(offsetof(Pageinfo, secs) == 24);
inline constexpr std::uint64_t kPageinfoAlignment = 32;

}  // namespace enclume::arch
