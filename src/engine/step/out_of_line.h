// SPDX-License-Identifier: Apache-2.0
// Executing one instruction of enclave code elsewhere than where it stands, so that its page need not be
// executable: for this thread alone, and while other threads execute a patched copy of the page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "engine/decode/instruction.h"

namespace enclume::engine {

struct OutOfLine {
  std::uint64_t address = 0;  ///< of the copy
  /// The instruction says where to go on, not how far: RET, and jumps and calls through a pointer. After all
  /// others RIP is as far from the copy as it would be from the original.
  bool absolute = false;
};

/// Puts a copy of the instruction, whose bytes begin `code` and which stands at `rip`, to a place of its own
/// for the thread with this slot. A call leaves an address behind the copy on the stack. Nothing if it can't
/// be: the few that know where they are in another way, no memory, or an operand relative to RIP that is out
/// of reach. Signal context: safe.
[[nodiscard]] std::optional<OutOfLine> place_out_of_line(std::span<const std::byte> code,
                                                         const decode::Instruction& instruction,
                                                         std::uint64_t rip, std::uint32_t slot) noexcept;

}  // namespace enclume::engine
