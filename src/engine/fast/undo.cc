// SPDX-License-Identifier: Apache-2.0
#include "engine/fast/undo.h"

#include <array>
#include <cstring>

#include "arch/machine.h"

namespace enclume::engine {

using arch::CpuState;
using arch::Reg;
using decode::Encoding;
using decode::Instruction;
using decode::OpcodeMap;

bool is_string(const Instruction& i) {
  return i.encoding == Encoding::Legacy && i.map == OpcodeMap::OneByte &&
         ((i.opcode >= 0xa4 && i.opcode <= 0xa7) || (i.opcode >= 0xac && i.opcode <= 0xaf));
}

unsigned operand_size(const Instruction& i) {
  return i.rex_w() ? 8 : i.operand_size_override ? 2 : 4;
}

Part part_of(const Instruction& i, unsigned size) {
  const std::size_t number = i.modrm_reg() | (i.rex_r() ? 8U : 0U);
  if (size == 1 && i.rex == 0 && number >= 4) {
    return {number - 4, 1, true};
  }
  return {number, size, false};
}

bool Undo::read(std::uint64_t at, unsigned size, std::uint64_t& seen, std::uint64_t& own) {
  std::array<std::byte, 8> bytes{};
  if (size > bytes.size() || !memory_.own(at, bytes.data(), size)) {
    return false;
  }
  own = seen = 0;
  std::memcpy(&own, bytes.data(), size);
  memory_.overlay(at, bytes.data(), size);
  std::memcpy(&seen, bytes.data(), size);
  return true;
}

Undo::Result Undo::run() {
  if (i_.encoding == Encoding::Xop || i_.lock) {
    return {};
  }
  switch (i_.map) {
    case OpcodeMap::OneByte:
      return one_byte();
    case OpcodeMap::Map0F:
      return mapped(decode::cell(k0FUses, i_.opcode));
    case OpcodeMap::Map0F38:
      return mapped(decode::cell(k0F38Uses, i_.opcode));
    case OpcodeMap::Map0F3A:
      return mapped(decode::cell(k0F3AUses, i_.opcode));
    default:
      return {i_.has_memory_operand, false};
  }
}

Undo::Result Undo::string() {
  const unsigned size = (i_.opcode & 1) != 0 ? operand_size(i_) : 1;
  const bool down = (cpu_.rflags & arch::rflags::kDf) != 0;
  const std::uint64_t step = down ? -std::uint64_t{size} : size;
  const bool source = i_.opcode <= 0xa7 || i_.opcode == 0xac || i_.opcode == 0xad;
  const bool target = i_.opcode == 0xa6 || i_.opcode == 0xa7 || i_.opcode >= 0xae;  // read there
  const bool moves_target = i_.opcode <= 0xa7 || i_.opcode >= 0xae;
  const std::uint64_t from = cpu_[Reg::Rsi] - step + segment_base();
  if (i_.address_size_override ||
      !((source && overlap(from, size, word_)) || (target && overlap(cpu_[Reg::Rdi] - step, size, word_)))) {
    return {};
  }
  if (source) {
    cpu_[Reg::Rsi] -= step;
  }
  if (moves_target) {
    cpu_[Reg::Rdi] -= step;
  }
  if (i_.rep || i_.repne) {
    cpu_[Reg::Rcx] += 1;
  }
  cpu_.rflags &= ~arch::rflags::kRf;
  return again();
}

Undo::Result Undo::from_stack(std::uint64_t size) {
  const std::uint64_t old = cpu_[Reg::Rsp] - size;
  if (!overlap(old, size, word_)) {
    return {};
  }
  cpu_[Reg::Rsp] = old;
  return again();
}

Undo::Result Undo::one_byte() {
  if (i_.encoding != Encoding::Legacy) {
    return {};
  }
  const unsigned op = i_.opcode;
  const unsigned size = (op & 1) != 0 ? operand_size(i_) : 1;
  if (is_string(i_)) {
    return string();
  }
  if (op < 0x40) {
    const unsigned what = op >> 3;
    if (what == 7 && (op & 7) < 4) {
      return i_.has_memory_operand && reads_word(size) ? again() : Result{};
    }
    return (op & 6) == 2 && i_.has_memory_operand ? arithmetic(what, part_of(i_, size)) : Result{};
  }
  const std::uint64_t pushed = i_.operand_size_override ? 2 : 8;
  if (op >= 0x58 && op <= 0x5f) {  // POP: RSP itself holds what was read then
    return (op & 7) == 4 && !i_.rex_b() ? Result{} : from_stack(pushed);
  }
  switch (op) {
    case 0x9d:  // POPF
      return from_stack(pushed);
    case 0xc9:  // LEAVE
      if (!overlap(cpu_[Reg::Rsp] - pushed, pushed, word_) || pushed != 8) {
        return {};
      }
      cpu_[Reg::Rbp] = cpu_[Reg::Rsp] - pushed;
      return again();
    case 0xa0:
    case 0xa1:
      return reads_word(size) ? again() : Result{};
    case 0xd7:
      return xlat();
    default:
      break;
  }
  if (!i_.has_memory_operand) {
    return {};
  }
  switch (op) {
    case 0x63:  // MOVSXD
      return load(part_of(i_, operand_size(i_)), operand_size(i_) == 2 ? 2 : 4, true);
    case 0x69:
    case 0x6b:  // IMUL with an immediate
      return overwritten(part_of(i_, operand_size(i_)).reg, operand_size(i_));
    case 0x80:
    case 0x81:
    case 0x83:
      return i_.modrm_reg() == 7 && reads_word(size) ? again() : Result{};
    case 0x84:
    case 0x85:
      return reads_word(size) ? again() : Result{};
    case 0x8a:
    case 0x8b:
      return load(part_of(i_, size), size, false);
    case 0x8f:  // POP to memory
      return i_.memory.base == 4 ? Result{} : from_stack(pushed);
    case 0xf6:
    case 0xf7:
      if (i_.modrm_reg() >= 4) {
        return wide_arithmetic(size);
      }
      return i_.modrm_reg() < 2 && reads_word(size) ? again() : Result{};
    case 0xff:
      if (i_.modrm_reg() != 6) {
        return {};  // not INC and DEC, which write; behind a jump or call the code is not what has read
      }
      cpu_[Reg::Rsp] += pushed;
      if (reads_word(pushed)) {
        return again();
      }
      cpu_[Reg::Rsp] -= pushed;
      return {};
    default:
      return op >= 0xd8 && op <= 0xdf ? x87() : Result{};
  }
}

Undo::Result Undo::overwritten(std::size_t reg, unsigned size) {
  if (addressed_by(reg)) {
    return lost();
  }
  return reads_word(size) ? again() : Result{};
}

Undo::Result Undo::mapped(char what) {
  if (!i_.has_memory_operand) {
    return {};
  }
  const auto use = static_cast<Use>(what);
  const bool bytes = i_.map == OpcodeMap::Map0F && (i_.opcode == 0xb6 || i_.opcode == 0xbe);
  const bool words = i_.map == OpcodeMap::Map0F && (i_.opcode == 0xb7 || i_.opcode == 0xbf);
  const unsigned full = operand_size(i_);
  switch (use) {
    case Use::None:
      return {};
    case Use::Extend:
      return load(part_of(i_, full), bytes ? 1 : words ? 2 : full, i_.opcode >= 0xbe);
    case Use::Gpr:
      return overwritten(part_of(i_, full).reg, 16);
    case Use::Imul:
      return imul(part_of(i_, full));
    case Use::Bit:
      if (i_.opcode == 0xa3) {
        return bit_test(full);
      }
      return i_.modrm_reg() == 4 && reads_word(full) ? again() : Result{};
    case Use::String:
      return addressed_by(1) || i_.opcode == 0x60 || i_.opcode == 0x62
                 ? Result{!reads_word(16) ? false : true, false}
                 // XMM0 may have been an operand, RCX the base
                 : overwritten(1, 16);
    case Use::MixedGpr:
      return mixed_gpr();
    case Use::Special:
      return special();
    case Use::Load:
      return vector([this] { return again(); });
    case Use::Mixed:
      return vector([this] { return to_another() ? again() : lost(); });
    case Use::Lost:
      return vector([] { return lost(); });
    default:
      return vector([this, use] { return to_another() ? again() : mixed_back(use); });
  }
}

Undo::Result Undo::bit_test(unsigned size) {
  const auto at = address();
  const std::uint64_t bit = sign_extended(cpu_.gpr[part_of(i_, size).reg] & mask_of(size), size);
  const auto words = static_cast<std::uint64_t>(static_cast<std::int64_t>(bit) >> (size == 8   ? 6
                                                                                   : size == 4 ? 5
                                                                                               : 4));
  return at && overlap(*at + words * size, size, word_) ? again() : Result{};
}

Undo::Result Undo::mixed_gpr() {
  if (i_.encoding != Encoding::Vex) {
    return {reads_word(8), false};  // ADCX, ADOX
  }
  const std::size_t to = part_of(i_, 8).reg;
  const std::size_t second = second_source();
  if (!reads_word(8)) {
    return {addressed_by(to) || addressed_by(second), false};
  }
  const bool mulx = i_.opcode == 0xf6 && i_.repne;
  if (i_.opcode == 0xf3) {  // BLSR and its kin write the second one
    return again();
  }
  return (mulx ? to != 2 && second != 2 : to != second) ? again() : lost();
}

Undo::Result Undo::special() {
  if (i_.map == OpcodeMap::Map0F) {  // 7E: MOVQ with F3, else a store
    return i_.rep ? vector([this] { return again(); }) : Result{};
  }
  const unsigned full = operand_size(i_);
  if (i_.encoding != Encoding::Legacy) {
    return {};
  }
  if (i_.repne) {
    return i_.opcode == 0xf4 ? Result{} : crc32(i_.opcode == 0xf0 ? 1 : full);
  }
  return i_.opcode == 0xf0 ? load(part_of(i_, full), full, false, true) : Result{};  // MOVBE
}

}  // namespace enclume::engine
