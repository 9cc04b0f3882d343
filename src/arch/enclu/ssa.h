// SPDX-License-Identifier: Apache-2.0
// SSA frames as EENTER, ERESUME and AEX use them: found and checked once at entry, then written through
// cached addresses, so that an asynchronous exit can't fault.
#pragma once

#include <cstdint>
#include <expected>

#include "arch/epc/epcm.h"
#include "arch/fault.h"
#include "arch/logical_processor.h"
#include "arch/machine.h"
#include "arch/ports.h"
#include "arch/structs/secs.h"
#include "arch/structs/ssa.h"
#include "base/types.h"

namespace enclume::arch {

/// Checks the pages of the frame at `frame` that hold the XSAVE area, then the one with GPRSGX, each by page
/// walk and EPCM (SDM Vol. 3D, EENTER). The pages between them are not looked at. Faults: the walk's,
/// #PF(page) with W set. Signal context: safe.
[[nodiscard]] std::expected<SsaFrameCache, Fault> locate_ssa_frame(const Machine&, AddressSpace&,
                                                                   const EpcPage& secs_page,
                                                                   LinearAddress frame) noexcept;

/// GPRSGX of a located frame. Signal context: safe.
[[nodiscard]] inline Gprsgx& gprsgx_of(const SsaFrameCache& frame) noexcept {
  return overlay<Gprsgx>(frame.gpr);
}

}  // namespace enclume::arch
