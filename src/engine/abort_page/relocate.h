// SPDX-License-Identifier: Apache-2.0
// Rewrites an instruction so that its memory operand is wherever one register points.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "engine/decode/instruction.h"

namespace enclume::engine {

/// An instruction that does to [register `base`] what the original does to its memory operand.
struct RelocatedInstruction {
  std::array<std::byte, 16> bytes{};
  std::uint8_t size = 0;
  std::uint8_t base = 0;  ///< hardware number of the register that must point to the operand
  /// The original's register operand is RSP, this one's is RBP: the engine's code needs RSP for itself.
  bool rbp_stands_for_rsp = false;
};

/// Nothing for an instruction that does more to memory, or to the flow of control, than read or write the one
/// operand that ModRM (or an A0..A3 address) names, for vectors of addresses, and for the few that would need
/// RSP and can't get another register. `code` begins with the instruction's bytes. Signal context: safe.
[[nodiscard]] std::optional<RelocatedInstruction> relocate(std::span<const std::byte> code,
                                                           const decode::Instruction& instruction) noexcept;

}  // namespace enclume::engine
