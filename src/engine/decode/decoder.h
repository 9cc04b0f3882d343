// SPDX-License-Identifier: Apache-2.0
// A decoder of x86-64 instructions in 64-bit mode: length, operands' places, and class.
//
// It serves two jobs: to tell, at a fault, which instruction the program stands at, and to prove that a byte
// is the start of an instruction. Both run where a full disassembler can't come along: in signal handlers,
// and inside somebody else's process, into which another shared library must not be dragged.
//
// What it promises, tested against Zydis over whole libraries and over random bytes:
//  - an instruction that the processor accepts decodes, with its exact length;
//  - undefined opcodes of the legacy maps (one-byte, 0F, 0F38, 0F3A) are refused, with groups, x87, illegal
//    LOCK, and forms that exist only with or only without a memory operand.
// Of VEX, EVEX and XOP encodings it knows the layout, which is regular, and not which opcodes exist: an
// undefined one decodes as Other, and a future one with its true length. APX (REX2, EVEX map 4) is refused.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>

#include "engine/decode/instruction.h"

namespace enclume::engine::decode {

enum class DecodeError : std::uint8_t {
  Truncated,  // the bytes end inside the instruction
  Undefined,  // no instruction: the processor would raise #UD
  TooLong,    // more than 15 bytes: the processor would raise #GP
};

/// How a near branch with prefix 66 and without REX.W is read: Intel ignores the prefix (32-bit distance),
/// AMD takes a 16-bit distance. Compilers and linkers never emit one.
enum class BranchRule : std::uint8_t {
  Intel,
  Amd,
};

/// Decodes the instruction at the start of `bytes`; 15 bytes are always enough.
/// Signal context: safe.
[[nodiscard]] std::expected<Instruction, DecodeError> decode(
    std::span<const std::byte> bytes, BranchRule branches = BranchRule::Intel) noexcept;

/// What an effective address is made of. `registers` is in hardware order (see MemoryOperand).
struct AddressContext {
  std::array<std::uint64_t, 16> registers{};
  std::uint64_t rip = 0;  // of the instruction's first byte
  std::uint64_t fs_base = 0;
  std::uint64_t gs_base = 0;
};

/// The linear address of the ModRM (or A0..A3) memory operand. Nothing for an instruction without one, for a
/// vector of addresses (VSIB), and for EVEX with an 8-bit displacement, whose unit depends on the
/// instruction. LEA and the multi-byte NOP have such an operand and do not access it. Signal context: safe.
[[nodiscard]] std::optional<std::uint64_t> effective_address(const Instruction& instruction,
                                                             const AddressContext& context) noexcept;

}  // namespace enclume::engine::decode
