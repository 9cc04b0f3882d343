// SPDX-License-Identifier: Apache-2.0
// Which system call a SYSCALL instruction makes, as far as the code before it tells.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "engine/cpuid/code_map.h"

namespace enclume::engine {

/// The number that is in EAX whenever the SYSCALL at `offset` is executed. Nothing unless
///  - EAX is loaded a few instructions before, nothing in between writes to it, no branch of the function
///  leads
///    in between, and it has no jump through a register or memory, which might;
///  - what is loaded is a constant, or a register into which the function loads this constant and nothing
///  else
///    (compilers keep the number of a loop's call there).
/// Signal context: safe.
[[nodiscard]] std::optional<std::uint32_t> call_number_at(const CodeMap& map, std::size_t offset) noexcept;

}  // namespace enclume::engine
