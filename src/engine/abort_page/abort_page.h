// SPDX-License-Identifier: Apache-2.0
// Host code that touches the EPC meets the abort page: reads give all ones, writes vanish.
//
// Most instructions are executed as they are, on a piece of memory that reads as all ones, with the register
// that holds the address exchanged (relocate.h, execute.h): so flags, vector registers and exceptions are the
// processor's own. What uses more than one place in memory, or jumps, is done by hand here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "arch/cpu_state.h"
#include "arch/fault.h"

namespace enclume::engine {

/// The access at hand.
struct AbortPageAccess {
  std::span<const std::byte> code;  ///< the bytes at RIP, as many as can be read, up to 15
  LinearAddress address;            ///< where it faulted (CR2)
  std::uint32_t slot = 0;           ///< of the calling thread
  /// Whether an address shows the abort page. An instruction may touch ordinary memory too.
  bool (*is_abort_page)(const void* context, LinearAddress address) = nullptr;
  const void* context = nullptr;
};

enum class AbortPageEnd : std::uint8_t {
  Done,         ///< RIP is behind the instruction, or, in a repeated one, still at it with RCX counted down
  NotEmulated,  ///< nothing changed; to be answered by SIGSEGV
  MemoryFault,  ///< nothing changed; a guarded copy from or to ordinary memory has faulted, and the
                ///< instruction does the same after its access to the EPC
  Fault,        ///< the instruction raised `fault`; nothing changed
};

struct AbortPageOutcome {
  AbortPageEnd end = AbortPageEnd::NotEmulated;
  arch::Fault fault{arch::Vector::UD};
};

/// Executes the instruction at RIP of host code, its operands in the EPC replaced by the abort page.
/// Signal context: safe.
[[nodiscard]] AbortPageOutcome emulate_abort_page(arch::CpuState& cpu,
                                                  const AbortPageAccess& access) noexcept;

}  // namespace enclume::engine
