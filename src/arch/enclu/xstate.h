// SPDX-License-Identifier: Apache-2.0
// Extended state across the enclave boundary: XSAVE into an SSA frame, XRSTOR from it, and what an
// asynchronous exit leaves in the registers (SDM Vol. 3D, "Processor Extended States and ENCLS[ECREATE]",
// "Processor Extended States and ... AEX"; Vol. 1, chapter "Managing State Using the XSAVE Feature Set").
#pragma once

#include <cstdint>
#include <optional>

#include "arch/cpu_state.h"
#include "arch/fault.h"
#include "arch/logical_processor.h"
#include "arch/machine.h"

namespace enclume::arch {

/// XCR0's numbering of state components, as far as it matters here.
namespace xfeature {
inline constexpr std::uint64_t kX87 = 1ULL << 0;
inline constexpr std::uint64_t kSse = 1ULL << 1;
inline constexpr std::uint64_t kAvx = 1ULL << 2;
inline constexpr std::uint64_t kLegacy = kX87 | kSse;
}  // namespace xfeature

/// The standard format's fixed part: legacy region, then the header (SDM Vol. 1, Table 13-1 and 13.4.2).
namespace xsave {
inline constexpr std::uint32_t kFcw = 0;
inline constexpr std::uint32_t kFsw = 2;
inline constexpr std::uint32_t kX87Control = 0;  ///< FCW, FSW, FTW, FOP, FIP, FDP
inline constexpr std::uint32_t kX87ControlSize = 24;
inline constexpr std::uint32_t kMxcsr = 24;
inline constexpr std::uint32_t kMxcsrMask = 28;
inline constexpr std::uint32_t kX87Registers = 32;
inline constexpr std::uint32_t kX87RegistersSize = 128;
inline constexpr std::uint32_t kXmm = 160;
inline constexpr std::uint32_t kXmmSize = 256;
inline constexpr std::uint32_t kXstateBv = 512;
inline constexpr std::uint32_t kXcompBv = 520;
inline constexpr std::uint32_t kHeaderEnd = 576;
inline constexpr std::uint16_t kInitFcw = 0x037f;
}  // namespace xsave

/// XSAVE of `xfrm`'s components from `image` into the frame: every component's bytes, INIT values for those
/// whose XSTATE_BV bit is clear; XSTATE_BV &= xfrm; header bytes 8-23 zero. Signal context: safe.
void save_xstate(const MachineConfig&, std::uint64_t xfrm, const XsaveImage& image,
                 const SsaFrameCache&) noexcept;

/// What XRSTOR reads first, read once: enclave code on another thread may write the frame meanwhile.
struct XrstorHeader {
  std::uint64_t xstate_bv;
  std::uint32_t mxcsr;
};

/// XRSTOR's checks of a frame under XCR0 = `xfrm`; nothing if it would raise #GP(0). `image` tells which
/// MXCSR bits the processor has. Signal context: safe.
[[nodiscard]] std::optional<XrstorHeader> check_xrstor(std::uint64_t xfrm, const XsaveImage& image,
                                                       const SsaFrameCache&) noexcept;

/// XRSTOR of `xfrm`'s components into `image`; those that the frame says are in INIT state become so, those
/// outside `xfrm` stay. Signal context: safe.
void restore_xstate(const MachineConfig&, std::uint64_t xfrm, const XrstorHeader&, const SsaFrameCache&,
                    XsaveImage& image) noexcept;

/// The state after an asynchronous exit: INIT, but FCW, FSW and MXCSR are such that a handler of #MF or #XM
/// finds exactly one unmasked exception. Components outside `xfrm` stay. Signal context: safe.
void load_synthetic_xstate(const MachineConfig&, std::uint64_t xfrm, std::optional<Vector> exception,
                           XsaveImage& image) noexcept;

}  // namespace enclume::arch
