// SPDX-License-Identifier: Apache-2.0
// The SSA frame: where an asynchronous exit keeps the enclave's registers.
// From low to high addresses: XSAVE area, pad, MISC area (EXINFO), GPRSGX (SDM Vol. 3D, "State Save Area
// (SSA) Frame").
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "arch/fault.h"
#include "arch/machine.h"
#include "arch/structs/attributes.h"
#include "arch/structs/bytes.h"
#include "base/types.h"

namespace enclume::arch {

/// GPRSGX, the last 184 bytes of a frame (SDM Vol. 3D, "GPRSGX Region"; Linux SGX_SSA_GPRS_SIZE). The SDM of
/// 2016 prints 176 as the size, but places GSBASE at 176.
struct Gprsgx {
  std::array<std::uint64_t, 16> gpr;  ///< in the order of arch::Reg: RAX, RCX, RDX, RBX, RSP, …, R15
  std::uint64_t rflags;
  std::uint64_t rip;
  std::uint64_t ursp;      ///< RSP outside, written at EENTER, loaded at AEX
  std::uint64_t urbp;      ///< RBP outside
  std::uint32_t exitinfo;  ///< see namespace exitinfo
  Bytes<3> reserved;
  std::uint8_t aexnotify;  ///< bit 0; set and cleared by the enclave alone
  std::uint64_t fsbase;
  std::uint64_t gsbase;
};
static_assert(sizeof(Gprsgx) == 184 && std::is_trivially_copyable_v<Gprsgx>);
static_assert(offsetof(Gprsgx, gpr) == 0);
static_assert(offsetof(Gprsgx, rflags) == 128);
static_assert(offsetof(Gprsgx, rip) == 136);
static_assert(offsetof(Gprsgx, ursp) == 144);
static_assert(offsetof(Gprsgx, urbp) == 152);
static_assert(offsetof(Gprsgx, exitinfo) == 160);
static_assert(offsetof(Gprsgx, reserved) == 164);
static_assert(offsetof(Gprsgx, aexnotify) == 167);
static_assert(offsetof(Gprsgx, fsbase) == 168);
static_assert(offsetof(Gprsgx, gsbase) == 176);

/// EXITINFO: which exception made the enclave exit (SDM Vol. 3D, "EXITINFO").
namespace exitinfo {
enum class Type : std::uint8_t {
  Hardware = 3,
  Software = 6,
};
inline constexpr std::uint32_t kValid = 1U << 31;

constexpr std::uint32_t make(Vector vector, Type type) {
  return kValid | static_cast<std::uint32_t>(vector) | (static_cast<std::uint32_t>(type) << 8);
}
constexpr bool valid(std::uint32_t info) {
  return (info & kValid) != 0;
}
constexpr std::uint8_t vector(std::uint32_t info) {
  return static_cast<std::uint8_t>(info & 0xff);
}
constexpr std::uint8_t type(std::uint32_t info) {
  return static_cast<std::uint8_t>((info >> 8) & 7);
}
}  // namespace exitinfo

/// EXINFO, 16 bytes right below GPRSGX if MISCSELECT.EXINFO is set (SDM Vol. 3D, "EXINFO Structure").
/// Written for #PF and #GP only.
struct Exinfo {
  std::uint64_t maddr;  ///< #PF: full linear address; #GP: 0
  std::uint32_t errcd;
  std::uint32_t reserved;
};
static_assert(sizeof(Exinfo) == 16 && std::is_trivially_copyable_v<Exinfo>);
static_assert(offsetof(Exinfo, maddr) == 0);
static_assert(offsetof(Exinfo, errcd) == 8);
static_assert(offsetof(Exinfo, reserved) == 12);

/// Legacy region and header of an XSAVE area (SDM Vol. 1, "XSAVE Area").
inline constexpr std::uint32_t kXsaveLegacySize = 512;
inline constexpr std::uint32_t kXsaveHeaderOffset = 512;
inline constexpr std::uint32_t kXsaveMinSize = 576;

/// Bytes that the standard-format XSAVE area of `xfrm` takes on this machine: the end of the component
/// that reaches furthest (SDM Vol. 3D, ECREATE, "compute_xsave_size"). Signal context: safe.
[[nodiscard]] constexpr std::uint32_t xsave_size(const MachineConfig& config, std::uint64_t xfrm) noexcept {
  std::uint32_t offset = kXsaveMinSize;
  std::uint32_t last = 0;
  for (std::uint64_t left = xfrm & ~kXfrmLegacy; left != 0; left &= left - 1) {
    const XsaveComponent& component = config.xsave[static_cast<std::size_t>(std::countr_zero(left))];
    if (component.offset >= offset + last) {
      offset = component.offset;
      last = component.size;
    }
  }
  return offset + last;
}

/// Bytes of the MISC area for a MISCSELECT. Signal context: safe.
[[nodiscard]] constexpr std::uint32_t misc_size(std::uint32_t select) noexcept {
  return (select & miscselect::kExinfo) != 0 ? static_cast<std::uint32_t>(sizeof(Exinfo)) : 0;
}

/// Offsets inside one SSA frame of an enclave.
struct SsaFrameLayout {
  std::uint64_t size = 0;          ///< SSAFRAMESIZE in bytes
  std::uint32_t xsave_size = 0;    ///< the XSAVE area is at offset 0
  std::uint64_t gpr_offset = 0;    ///< Gprsgx
  std::uint64_t misc_offset = 0;   ///< Exinfo, if selected; else equal to gpr_offset
  std::uint64_t xsave_pages = 0;   ///< pages that the XSAVE area touches
  std::uint64_t gpr_page_off = 0;  ///< offset of the page that holds GPRSGX, the frame's last

  /// Whether everything has its place: what ECREATE checks.
  [[nodiscard]] constexpr bool fits(std::uint32_t misc) const noexcept {
    return size >= std::uint64_t{xsave_size} + sizeof(Gprsgx) + misc_size(misc);
  }
};

/// Meaningful offsets only if `fits()`. Signal context: safe.
[[nodiscard]] constexpr SsaFrameLayout ssa_frame_layout(const MachineConfig& config, std::uint64_t xfrm,
                                                        std::uint32_t select,
                                                        std::uint32_t frame_pages) noexcept {
  SsaFrameLayout layout;
  layout.size = std::uint64_t{frame_pages} * kPageSize;
  layout.xsave_size = xsave_size(config, xfrm);
  layout.gpr_offset = layout.size - sizeof(Gprsgx);
  layout.misc_offset = layout.gpr_offset - misc_size(select);
  layout.xsave_pages = align_up(layout.xsave_size, kPageSize) / kPageSize;
  layout.gpr_page_off = layout.size - kPageSize;
  return layout;
}

/// Linear address of frame `index` (SDM: BASEADDR + OSSA + 4096 * SSAFRAMESIZE * index).
[[nodiscard]] constexpr LinearAddress ssa_frame_address(std::uint64_t base_addr, std::uint64_t ossa,
                                                        std::uint32_t frame_pages,
                                                        std::uint32_t index) noexcept {
  return LinearAddress(base_addr + ossa + kPageSize * frame_pages * index);
}

}  // namespace enclume::arch
