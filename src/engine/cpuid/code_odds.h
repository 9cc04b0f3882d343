// SPDX-License-Identifier: Apache-2.0
// How much likelier an instruction is where there is code than where there is data.
//
// The weight of an instruction is log2(P(it | code) / P(it | data)) in half bits: measured over what a linear
// disassembly of ordinary programs' text holds, against what decoding from every byte of their constants and
// of random bytes gives. tests/unit/cpuid/measure_code_odds.cc measures, and prints the tables of
// code_odds.cc; the weights are cut off at -14 and 12, so that no single instruction decides anything.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/decode/instruction.h"

namespace enclume::engine {

/// One-byte opcodes, those of map 0F, and all others by how they are encoded.
inline constexpr std::size_t kOddsClasses = 512 + 8;

/// Where the instruction stands in the table.
[[nodiscard]] constexpr std::size_t odds_class(const decode::Instruction& in) noexcept {
  using enum decode::Encoding;
  switch (in.encoding) {
    case Vex:
      return in.map == decode::OpcodeMap::Map0F ? 512 : in.map == decode::OpcodeMap::Map0F38 ? 513 : 514;
    case Evex:
      return 515;
    case Xop:
      return 516;
    case Legacy:
      break;
  }
  switch (in.map) {
    case decode::OpcodeMap::OneByte:
      return in.opcode;
    case decode::OpcodeMap::Map0F:
      return std::size_t{256} + in.opcode;
    case decode::OpcodeMap::Map0F38:
      return 517;
    case decode::OpcodeMap::Map0F3A:
      return 518;
    default:
      return 519;
  }
}

/// Half bits; positive where it speaks for code. Signal context: safe.
[[nodiscard]] int code_odds(const decode::Instruction& in) noexcept;

}  // namespace enclume::engine
