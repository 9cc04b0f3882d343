// SPDX-License-Identifier: Apache-2.0
// Which debug conditions count in enclave mode (SDM Vol. 3D, chapter "Enclave Code Debug and Profiling").
#pragma once

#include <cstdint>

#include "arch/logical_processor.h"
#include "base/types.h"

namespace enclume::arch {

/// DR6 (SDM Vol. 3B, "Debug Status Register").
namespace dr6 {
inline constexpr std::uint64_t kBreakpoints = 0xf;  ///< B0 to B3
inline constexpr std::uint64_t kSingleStep = 1U << 14;
}  // namespace dr6

enum class DebugCondition : std::uint8_t {
  SingleStep,
  CodeBreakpoint,
  DataBreakpoint,
};

/// Whether the condition becomes a #DB while `lp` is in enclave mode; `address` is the breakpoint's. After an
/// opt-out entry the enclave is one instruction to a debugger, but its accesses to ordinary memory are seen.
/// A code breakpoint outside ELRANGE cannot match: the fetch there faults first.
[[nodiscard]] constexpr bool counts_in_enclave(const LogicalProcessor& lp, DebugCondition condition,
                                               LinearAddress address) noexcept {
  const bool inside = lp.elrange.contains(address);
  switch (condition) {
    case DebugCondition::SingleStep:
      return lp.dbgoptin;
    case DebugCondition::CodeBreakpoint:
      return lp.dbgoptin && inside;
    case DebugCondition::DataBreakpoint:
      return lp.dbgoptin || !inside;
  }
  return false;
}

}  // namespace enclume::arch
