// SPDX-License-Identifier: Apache-2.0
// Host code that touches the EPC meets the abort page: reads give all ones, writes vanish.
#pragma once

#include "arch/cpu_state.h"

namespace enclume::engine {

/// Executes the instruction at RIP with its memory operand on the abort page. False if it is one that is not
/// emulated. Signal context: safe.
[[nodiscard]] bool emulate_abort_page(arch::CpuState& cpu);

}  // namespace enclume::engine
