// SPDX-License-Identifier: Apache-2.0
// The part of EENTER that a notifying ERESUME shares with it.
#pragma once

#include "arch/cpu_state.h"
#include "arch/enclu/tcs_claim.h"
#include "arch/fault.h"
#include "arch/logical_processor.h"
#include "arch/machine.h"
#include "arch/ports.h"

namespace enclume::arch {

/// Checks 17-22 of EENTER on a checked claim, then its effects: frame CSSA becomes the current one, execution
/// goes on at OENTRY. Signal context: safe.
[[nodiscard]] LeafResult enter_at_entry_point(const Machine&, TcsClaim&, LogicalProcessor&, CpuState&,
                                              AddressSpace&) noexcept;

}  // namespace enclume::arch
