// SPDX-License-Identifier: Apache-2.0
// MOVS, CMPS, STOS, LODS, SCAS with one or two operands on the abort page.
#pragma once

#include "arch/cpu_state.h"
#include "engine/abort_page/abort_page.h"
#include "engine/decode/instruction.h"

namespace enclume::engine {

[[nodiscard]] bool is_string_instruction(const decode::Instruction& instruction) noexcept;

/// Executes a good number of iterations, with or without REP. An interrupt may come between any two, so the
/// program can't tell that the rest of them follows at another fault. Signal context: safe.
[[nodiscard]] AbortPageOutcome emulate_string_instruction(arch::CpuState& cpu,
                                                          const decode::Instruction& instruction,
                                                          const AbortPageAccess& access) noexcept;

}  // namespace enclume::engine
