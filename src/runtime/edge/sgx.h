// SPDX-License-Identifier: Apache-2.0
// The structures that a loader hands to Linux and the processor (SDM volume 3D, chapter 38). The runtime's
// own: it must not share the emulator's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace enclume::edge {

// ENCLU leaves.
inline constexpr std::uint32_t kEenter = 2, kEresume = 3, kEexit = 4;

// SECINFO.FLAGS.
inline constexpr std::uint64_t kRead = 1, kWrite = 2, kExecute = 4, kPending = 8;
inline constexpr std::uint64_t kTcsPage = 1 << 8, kRegularPage = 2 << 8;

// ATTRIBUTES.
inline constexpr std::uint64_t kAttributeInit = 1 << 0, kAttributeDebug = 1 << 1, kAttributeMode64 = 1 << 2;
inline constexpr std::uint32_t kMiscExinfo = 1;

struct Secs {
  std::uint64_t size, base;
  std::uint32_t ssa_frame_pages;
  std::uint32_t miscselect;
  std::array<std::uint8_t, 24> reserved1;
  std::uint64_t attributes, xfrm;
  std::array<std::uint8_t, 4032> rest;  ///< what EINIT fills in, and more of no use here
};
static_assert(sizeof(Secs) == 4096 && offsetof(Secs, attributes) == 48);

struct alignas(64) Secinfo {
  std::uint64_t flags;
  std::array<std::uint8_t, 56> reserved;
};
static_assert(sizeof(Secinfo) == 64);

struct Tcs {
  std::uint64_t state, flags, ossa;
  std::uint32_t cssa, nssa;
  std::uint64_t oentry, aep, ofsbase, ogsbase;
  std::uint32_t fslimit, gslimit;
  std::array<std::uint8_t, 4024> reserved;
};
static_assert(sizeof(Tcs) == 4096 && offsetof(Tcs, oentry) == 32 && offsetof(Tcs, fslimit) == 64);

}  // namespace enclume::edge
