// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstring>

#include "arch/machine.h"
#include "engine/fast/undo.h"

namespace enclume::engine {

namespace {

// The XSAVE area.
constexpr std::size_t kStatusWord = 2;
constexpr std::size_t kTagByte = 4;
constexpr std::size_t kX87Registers = 32;
constexpr std::size_t kXmm = 160;
constexpr std::size_t kXstateBv = 512;
constexpr std::uint64_t kSse = 2;
constexpr std::uint64_t kAvx = 4;

}  // namespace

using decode::Encoding;
using decode::OpcodeMap;

Undo::Result Undo::x87() {
  const unsigned op = i_.opcode;
  const unsigned reg = i_.modrm_reg();
  const std::uint64_t size = kStateSize / 64;  // FRSTOR's is the largest
  const auto is = [&](unsigned opcode, unsigned digits) { return op == opcode && (digits >> reg & 1) != 0; };
  // FLD, FILD, FBLD.
  if (is(0xd9, 1) || is(0xdb, 0x21) || is(0xdd, 1) || is(0xdf, 0x31)) {
    if (!reads_word(10)) {
      return {};
    }
    pop_x87();
    return again();
  }
  // FCOM, FICOM; FLDCW, FLDENV, FRSTOR.
  if (is(0xd8, 4) || is(0xda, 4) || is(0xdc, 4) || is(0xde, 4) || is(0xd9, 0x30) || is(0xdd, 0x10)) {
    return reads_word(size) ? again() : Result{};
  }
  // Stores.
  if (is(0xd9, 0xcc) || is(0xdb, 0x8e) || is(0xdd, 0xce) || is(0xdf, 0xce)) {
    return {};
  }
  return {reads_word(10), false};
}

void Undo::pop_x87() {
  std::byte* const area = cpu_.xsave.area;
  std::uint16_t status;
  std::memcpy(&status, area + kStatusWord, sizeof(status));
  const unsigned top = status >> 11 & 7U;
  area[kTagByte] &= ~(std::byte{1} << top);
  status = static_cast<std::uint16_t>((status & ~0x3800U) | ((top + 1) & 7U) << 11);
  std::memcpy(area + kStatusWord, &status, sizeof(status));
  std::array<std::byte, 16> first;  // the image has them by their distance from the top
  std::memcpy(first.data(), area + kX87Registers, first.size());
  for (std::size_t n = 0; n < 7; ++n) {
    std::memcpy(area + kX87Registers + n * 16, area + kX87Registers + (n + 1) * 16, 16);
  }
  std::memcpy(area + kX87Registers + 7 * std::size_t{16}, first.data(), first.size());
}

Undo::Result Undo::mixed_back(Use use) {
  const bool mmx = i_.encoding == Encoding::Legacy && i_.map == OpcodeMap::Map0F && i_.opcode >= 0x60 &&
                   !i_.operand_size_override && !i_.rep && !i_.repne;
  const bool scalar_tail = i_.rep || i_.repne;
  const bool ymm = i_.encoding == Encoding::Vex && (std::to_integer<unsigned>(prefix(1)) & 4) != 0;
  const auto at = address();
  if (mmx || scalar_tail || i_.encoding == Encoding::Evex || !at) {
    return lost();
  }
  const std::size_t size = ymm ? 32 : 16;
  std::array<std::byte, 32> own, seen;
  if (!memory_.own(*at, own.data(), size)) {
    return lost();
  }
  seen = own;
  memory_.overlay(*at, seen.data(), size);
  std::uint64_t present;
  std::memcpy(&present, cpu_.xsave.area + kXstateBv, sizeof(present));
  const std::uint64_t needed = kSse | (ymm ? kAvx : 0);
  if ((present & needed) != needed || cpu_.xsave.layout == nullptr) {
    return lost();
  }
  for (std::size_t n = 0; n < size; n += 16) {
    std::byte* const half = n == 0 ? cpu_.xsave.area + kXmm + vector_register() * 16
                                   : cpu_.xsave.area + cpu_.xsave.layout[2].offset + vector_register() * 16;
    take_back(half, seen.data() + n, own.data() + n, use);
  }
  return {true, true};  // behind the instruction
}

void Undo::take_back(std::byte* vector, const std::byte* seen, const std::byte* own, Use use) {
  const std::size_t lane = use == Use::AddB || use == Use::SubB   ? 1
                           : use == Use::AddW || use == Use::SubW ? 2
                           : use == Use::AddD || use == Use::SubD ? 4
                                                                  : 8;
  const bool subtracted = use == Use::SubB || use == Use::SubW || use == Use::SubD || use == Use::SubQ;
  for (std::size_t n = 0; n < 16; n += lane) {
    std::uint64_t value = 0, was = 0, is = 0;
    std::memcpy(&value, vector + n, lane);
    std::memcpy(&was, seen + n, lane);
    std::memcpy(&is, own + n, lane);
    value = use == Use::Xor ? value ^ was ^ is : subtracted ? value + was - is : value - was + is;
    std::memcpy(vector + n, &value, lane);
  }
}

}  // namespace enclume::engine
