// SPDX-License-Identifier: Apache-2.0
// Which system call a SYSCALL instruction makes, and for which leaf a CPUID asks, as far as the code before
// it tells.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "engine/cpuid/code_map.h"
#include "engine/cpuid/jump_tables.h"

namespace enclume::engine {

/// The number that is in EAX whenever the instruction at `offset` is executed. Nothing unless
///  - EAX is loaded a few instructions before, nothing in between writes to it, and no branch or jump table
///  of the
///    function leads in between;
///  - what is loaded is a constant, or a register into which the function loads this constant and nothing
///  else
///    (compilers keep the number of a loop's call there), or that has it on each way there, whatever else it
///    is used for.
/// Signal context: safe.
[[nodiscard]] std::optional<std::uint32_t> constant_in_eax_at(const CodeMap& map, std::size_t offset,
                                                              const JumpTables& jump_tables) noexcept;

}  // namespace enclume::engine
