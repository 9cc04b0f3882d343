// SPDX-License-Identifier: Apache-2.0
// Executes one relocated instruction natively, with the program's registers, on memory of the engine's
// choice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "arch/cpu_state.h"
#include "arch/fault.h"
#include "engine/abort_page/relocate.h"
#include "engine/signals/frame.h"

namespace enclume::engine {

struct Executed {
  bool possible = false;  ///< false: no memory for code, or no XSAVE on this machine; nothing happened
  std::optional<arch::Fault> fault;  ///< the instruction raised it; general registers are as before
};

/// Executes it with its base register pointing to `operand`. General registers, status flags and the x87,
/// SSE, AVX and AVX-512 parts of cpu.xsave change as the instruction says; RIP does not. `slot` is the
/// thread's slot: its code goes to a place of its own there. Signal context: safe.
[[nodiscard]] Executed execute_relocated(arch::CpuState& cpu, const RelocatedInstruction& instruction,
                                         std::byte* operand, std::uint32_t slot) noexcept;

/// Whether the address is in a relocated instruction: code of the engine, though not in its text.
/// Signal context: safe.
[[nodiscard]] bool is_relocated_code(std::uint64_t rip) noexcept;

/// A relocated instruction faulted: notes it, and makes the context go on behind it. False if it was
/// something else. Signal context: safe.
bool fix_relocated_fault(UContext& uc) noexcept;

}  // namespace enclume::engine
