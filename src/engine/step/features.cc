// SPDX-License-Identifier: Apache-2.0
#include "engine/step/features.h"

namespace enclume::engine {

namespace {

using decode::Encoding;
using decode::Instruction;
using decode::OpcodeMap;

constexpr std::uint64_t kAvx = 1U << 2;
constexpr std::uint64_t kAvx512 = 7U << 5;  // opmask, upper halves of ZMM0 to 15, ZMM16 to 31
constexpr std::uint64_t kAmx = 3ULL << 17;  // TILECFG, TILEDATA

// VEX without vector registers.
bool is_bmi(const Instruction& in) noexcept {
  if (in.map == OpcodeMap::Map0F38) {
    // ANDN, BLSR and its group, BZHI with PEXT and PDEP, MULX, BEXTR with SHLX, SARX and SHRX; CMPccXADD
    return in.opcode == 0xf2 || in.opcode == 0xf3 || (in.opcode >= 0xf5 && in.opcode <= 0xf7) ||
           (in.opcode >= 0xe0 && in.opcode <= 0xef);
  }
  return in.map == OpcodeMap::Map0F3A && in.opcode == 0xf0;  // RORX
}

// KMOV, KADD and their like.
bool is_opmask(const Instruction& in) noexcept {
  if (in.map == OpcodeMap::Map0F) {
    return (in.opcode >= 0x41 && in.opcode <= 0x4b) || (in.opcode >= 0x90 && in.opcode <= 0x93) ||
           in.opcode == 0x98 || in.opcode == 0x99;
  }
  return in.map == OpcodeMap::Map0F3A && in.opcode >= 0x30 && in.opcode <= 0x33;
}

// LDTILECFG, STTILECFG, TILERELEASE, TILEZERO, TILELOADD, TILESTORED and the products.
bool is_amx(const Instruction& in) noexcept {
  return in.map == OpcodeMap::Map0F38 && (in.opcode == 0x49 || in.opcode == 0x4b || in.opcode == 0x5c ||
                                          in.opcode == 0x5e || in.opcode == 0x6c);
}

std::uint64_t needed_by_xop(const Instruction& in) noexcept {
  // TBM and LWP work on general registers.
  const bool general =
      in.map == OpcodeMap::XopA ||
      (in.map == OpcodeMap::Xop9 && (in.opcode == 0x01 || in.opcode == 0x02 || in.opcode == 0x12));
  return general ? 0 : kAvx;
}

}  // namespace

std::uint64_t needed_features(const Instruction& in) noexcept {
  switch (in.encoding) {
    case Encoding::Vex:
      if (is_bmi(in)) {
        return 0;
      }
      if (is_amx(in)) {
        return kAmx;
      }
      return is_opmask(in) ? kAvx | kAvx512 : kAvx;
    case Encoding::Evex:
      return kAvx | kAvx512;
    case Encoding::Xop:
      return needed_by_xop(in);
    case Encoding::Legacy:
      break;
  }
  return 0;
}

}  // namespace enclume::engine
