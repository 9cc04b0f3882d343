// SPDX-License-Identifier: Apache-2.0
// Whether bytes that would be an instruction of interest are one, where nothing that is known to be executed
// leads to them: jump tables and function pointers are not followed.
//
// A stream of x86 instructions that is read from a wrong byte falls into step with the right one after a few
// instructions. So the bytes before the candidate are decoded from each of them on: in code, nearly all of
// these chains are one in the end, and either all have an instruction there or all have another one over it.
// Whether it is code at all, and not a table of constants, shows by which instructions the chains consist of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/decode/decoder.h"

namespace enclume::engine {

enum class Vote : std::uint8_t {
  Site,      ///< an instruction, of which `opcode` is the first opcode byte
  Interior,  ///< part of another instruction
  Unclear,   ///< data perhaps, or code too strange to tell
  Data,      ///< what follows can't be code
};

/// Bytes before and behind a candidate that are looked at. With fewer there is less that can convince.
inline constexpr std::size_t kVoteBefore = 96;
inline constexpr std::size_t kVoteBehind = 64;

/// `text[opcode]` would be the first opcode byte of an instruction of class `cls`. Bytes far from it are not
/// looked at, so all of `text` may be given. Signal context: safe.
[[nodiscard]] Vote vote_on_site(std::span<const std::byte> text, std::size_t opcode,
                                decode::InstructionClass cls, decode::BranchRule branches) noexcept;

}  // namespace enclume::engine
