// SPDX-License-Identifier: Apache-2.0
// Between a signal frame and the processor's view of the same registers.
#pragma once

#include <cstdint>

#include "arch/cpu_state.h"
#include "engine/entry/entry.h"
#include "engine/signals/frame.h"
#include "engine/signals/pkru.h"

namespace enclume::engine {

/// Reads the registers of a frame; bases come separately, frames do not hold them. The XSAVE image is the
/// frame's own, not a copy. Signal context: safe.
arch::CpuState load_state(const UContext& uc, std::uint64_t fs, std::uint64_t gs);

/// Writes them back (the XSAVE image is there already). Flags that rt_sigreturn ignores (ID, NT) go into
/// `plan`, the bases too. Signal context: safe.
void store_state(UContext& uc, const arch::CpuState& cpu, ExitPlan& plan);

/// Puts the extended state of a frame into the state that the kernel gives to a new handler: all
/// components initial, PKRU the process default. Signal context: safe.
void reset_extended_state(UContext& uc);

/// PKRU as the frame holds it, and as it will be after the return. Without PKRU in the frame: 0 and no-op.
/// Signal context: safe.
Pkru frame_pkru(const UContext& uc);
void set_frame_pkru(UContext& uc, Pkru pkru);

/// Bytes of extended state that belong to the frame, magic behind it included; 0 without any.
std::uint32_t extended_size(const UContext& uc);

}  // namespace enclume::engine
