// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/eax_constant.h"

#include <array>

namespace enclume::engine {
namespace {

// Arguments are loaded between the number and the SYSCALL; more than six, and a few moves.
constexpr int kFarthest = 16;

constexpr unsigned kRax = 0;
constexpr unsigned kRbx = 3;

struct Effect {
  enum : std::uint8_t {
    Keeps,
    Loads,
    Copies,
    Unknown
  } kind = Unknown;
  std::uint32_t value = 0;  // or the register that is copied
};
constexpr Effect kKeeps{.kind = Effect::Keeps};
constexpr Effect kUnknown{.kind = Effect::Unknown};

Effect loads(std::int64_t value) {
  return {.kind = Effect::Loads, .value = static_cast<std::uint32_t>(value)};
}

unsigned register_in_reg(const decode::Instruction& in) {
  return in.modrm_reg() | (in.rex_r() ? 8U : 0U);
}
unsigned register_in_rm(const decode::Instruction& in) {
  return in.modrm_rm() | (in.rex_b() ? 8U : 0U);
}

Effect copies(unsigned from) {
  return {.kind = Effect::Copies, .value = from};
}

// What an instruction that writes to its ModRM.rm, or to its ModRM.reg, does to RAX.
Effect writes_rm(const decode::Instruction& in) {
  return in.has_memory_operand || register_in_rm(in) != kRax ? kKeeps : kUnknown;
}
Effect writes_reg(const decode::Instruction& in) {
  return register_in_reg(in) != kRax ? kKeeps : kUnknown;
}

Effect effect_of_one_byte(const decode::Instruction& in) {
  const unsigned in_opcode = (in.opcode & 7U) | (in.rex_b() ? 8U : 0U);
  switch (in.opcode) {
    case 0x31:  // XOR of a register with itself
    case 0x33:
      if (!in.has_memory_operand && register_in_rm(in) == kRax && register_in_reg(in) == kRax) {
        return loads(0);
      }
      return in.opcode == 0x31 ? writes_rm(in) : writes_reg(in);
    case 0x01:
    case 0x09:
    case 0x21:
    case 0x29:
    case 0x81:
    case 0x83:  // arithmetic
      return writes_rm(in);
    case 0x80:  // with a byte, of which 4 without REX is AH
      return in.rex == 0 && in.modrm_rm() == 4 && !in.has_memory_operand ? kUnknown : writes_rm(in);
    case 0x03:
    case 0x0b:
    case 0x23:
    case 0x2b:
    case 0x63:
    case 0x8d:  // the same to a register; MOVSXD, LEA
      return writes_reg(in);
    case 0x89:  // MOV
      return !in.has_memory_operand && register_in_rm(in) == kRax ? copies(register_in_reg(in)) : kKeeps;
    case 0x8b:
      if (register_in_reg(in) != kRax) {
        return kKeeps;
      }
      return in.has_memory_operand ? kUnknown : copies(register_in_rm(in));
    case 0x39:
    case 0x3b:
    case 0x3d:
    case 0x85:
    case 0x90:  // CMP, TEST, NOP
      return kKeeps;
    case 0xc7:  // MOV of a constant to r/m (and XBEGIN)
      if (in.modrm_reg() == 0 && !in.has_memory_operand && register_in_rm(in) == kRax) {
        return loads(in.immediate);
      }
      return in.modrm_reg() == 0 ? kKeeps : kUnknown;
    default:
      break;
  }
  if (in.opcode >= 0xb8 && in.opcode <= 0xbf) {  // MOV of a constant
    return in_opcode == kRax ? loads(in.immediate) : kKeeps;
  }
  if (in.opcode >= 0x50 && in.opcode <= 0x5f) {  // PUSH, POP
    return in.opcode < 0x58 || in_opcode != kRax ? kKeeps : kUnknown;
  }
  return kUnknown;
}

Effect effect_of_two_byte(const decode::Instruction& in) {
  switch (in.opcode) {
    case 0x10:
    case 0x11:
    case 0x28:
    case 0x29:
    case 0x6f:
    case 0x7f:  // MOVUPS, MOVAPS, MOVDQA and their kin
    case 0x1f:  // NOP
      return kKeeps;
    case 0xb6:
    case 0xb7:
    case 0xbe:
    case 0xbf:  // MOVZX, MOVSX
      return writes_reg(in);
    default:
      return kUnknown;
  }
}

Effect effect_of(const decode::Instruction& in) {
  if (in.encoding != decode::Encoding::Legacy || in.operand_size_override) {
    return kUnknown;
  }
  switch (in.map) {
    case decode::OpcodeMap::OneByte:
      return effect_of_one_byte(in);
    case decode::OpcodeMap::Map0F:
      return effect_of_two_byte(in);
    default:
      return kUnknown;
  }
}

// RBX, RBP, R8 to R10, R12 to R15: no instruction writes to them without naming them, but for CPUID.
constexpr bool is_plain(unsigned reg) {
  return reg == 3 || reg == 5 || (reg >= 8 && reg != 11);
}

bool is_move_of_constant(const decode::Instruction& in, unsigned reg) {
  const bool one_byte = in.encoding == decode::Encoding::Legacy && in.map == decode::OpcodeMap::OneByte;
  if (!one_byte || in.operand_size_override) {
    return false;
  }
  const bool in_opcode =
      in.opcode >= 0xb8 && in.opcode <= 0xbf && ((in.opcode & 7U) | (in.rex_b() ? 8U : 0U)) == reg;
  const bool in_modrm =
      in.opcode == 0xc7 && in.modrm_reg() == 0 && !in.has_memory_operand && register_in_rm(in) == reg;
  return in_opcode || in_modrm;
}

// Whether an instruction may write to the register. What is not known to leave it alone may. POP is taken for
// the end of the function, where the caller's value comes back.
bool may_write(const decode::Instruction& in, unsigned reg) {
  if (in.encoding != decode::Encoding::Legacy) {
    return true;
  }
  if (in.cls == decode::InstructionClass::Cpuid) {
    return reg == kRbx;
  }
  const bool one_byte = in.map == decode::OpcodeMap::OneByte;
  const bool in_opcode = ((in.opcode & 7U) | (in.rex_b() ? 8U : 0U)) == reg;
  if (one_byte && ((in.opcode >= 0x90 && in.opcode <= 0x97) || (in.opcode >= 0xb0 && in.opcode <= 0xbf))) {
    return in_opcode && !(in.opcode == 0x90 && in.rex == 0);  // XCHG, MOV of a constant
  }
  if (in.map == decode::OpcodeMap::Map0F && in.opcode >= 0xc8 && in.opcode <= 0xcf) {
    return in_opcode;  // BSWAP
  }
  if (!in.has_modrm) {
    return false;
  }
  const bool in_reg = register_in_reg(in) == reg;
  const bool in_rm = !in.has_memory_operand && register_in_rm(in) == reg;
  if (one_byte) {
    switch (in.opcode) {
      case 0x38:
      case 0x39:
      case 0x3a:
      case 0x3b:
      case 0x84:
      case 0x85:  // CMP, TEST
        return false;
      case 0x88:
      case 0x89:  // MOV to r/m
        return in_rm;
      case 0x8a:
      case 0x8b:  // MOV from r/m
        return in_reg;
      default:
        break;
    }
  }
  return in_reg || in_rm;
}

// The constant that the code loads into a register, if it loads no other and writes nothing else there.
std::optional<std::uint32_t> constant_in(const CodeMap& map, unsigned reg) {
  std::optional<std::uint32_t> constant;
  bool one = is_plain(reg);
  map.for_each_instruction([&](const PlacedInstruction& placed) {
    const decode::Instruction& in = placed.instruction;
    if (is_move_of_constant(in, reg)) {
      const auto value = static_cast<std::uint32_t>(in.immediate);
      one = one && (!constant || *constant == value);
      constant = value;
    } else if (may_write(in, reg)) {
      one = false;
    }
    return one;
  });
  return one ? constant : std::nullopt;
}

// RBX, R12 to R15: what is in them is there again when a function that was called comes back. (RBP, too, but
// LEAVE does not name it.)
constexpr bool is_kept_by_calls(unsigned reg) {
  return reg == kRbx || reg >= 12;
}

bool is_pop_of(const decode::Instruction& in, unsigned reg) {
  return in.encoding == decode::Encoding::Legacy && in.map == decode::OpcodeMap::OneByte &&
         in.opcode >= 0x58 && in.opcode <= 0x5f && ((in.opcode & 7U) | (in.rex_b() ? 8U : 0U)) == reg;
}

// The constant that is in a register at a place in the function, on whichever way control has come there:
// each way is followed back to where the constant is loaded. Nothing if one of them is not known, or if there
// are many.
class ConstantOnAllWays {
 public:
  ConstantOnAllWays(const CodeMap& map, unsigned reg, const JumpTables& jump_tables) noexcept
      : map_(map), reg_(reg), jump_tables_(jump_tables) {}

  [[nodiscard]] std::optional<std::uint32_t> at(std::size_t offset) noexcept {
    bool known = is_kept_by_calls(reg_) && follow_back(offset);
    for (std::size_t done = 0; known && done < count_; ++done) {
      const Run run = runs_[done];
      known = !jump_tables_.may_lead_to(run.first, run.last);
      bool entered = run.loaded;
      map_.for_each_instruction([&](const PlacedInstruction& placed) {
        const decode::Instruction& in = placed.instruction;
        const std::uint64_t target = placed.offset + in.length + static_cast<std::uint64_t>(in.immediate);
        if (decode::is_relative_branch(in.cls) && target >= run.first && target <= run.last) {
          entered = true;
          known = known && follow_back(placed.offset);
        }
        return known;
      });
      known = known && entered;  // else by an exception, perhaps
    }
    return known ? constant_ : std::nullopt;
  }

 private:
  // Instructions one behind the other that leave the register alone.
  struct Run {
    std::size_t first;
    std::size_t last;
    bool loaded;  // behind the load, else behind what falls nowhere
  };

  // From the instruction at `offset` back to the load, or to where nothing falls through.
  bool follow_back(std::size_t offset) noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      if (offset >= runs_[i].first && offset <= runs_[i].last) {
        return true;
      }
    }
    Run run{offset, offset, false};
    while (run.first != 0) {
      const auto before = map_.instruction_before(run.first);
      if (!before) {
        return false;
      }
      const decode::Instruction& in = before->instruction;
      if (!decode::falls_through(in.cls)) {
        return add(run);
      }
      if (is_move_of_constant(in, reg_)) {
        const auto value = static_cast<std::uint32_t>(in.immediate);
        const bool same = !constant_ || *constant_ == value;
        constant_ = value;
        run.loaded = true;
        return same && add(run);
      }
      if (may_write(in, reg_) || is_pop_of(in, reg_)) {
        return false;
      }
      run.first = before->offset;
    }
    return false;  // the caller's
  }

  bool add(const Run& run) noexcept {
    if (count_ == runs_.size()) {
      return false;
    }
    runs_[count_++] = run;
    return true;
  }

  const CodeMap& map_;
  unsigned reg_;
  const JumpTables& jump_tables_;
  std::optional<std::uint32_t> constant_;
  std::array<Run, 16> runs_{};
  std::size_t count_ = 0;
};

// Whether control may come to [first, last] otherwise than from the instruction before.
bool may_be_entered(const CodeMap& map, std::size_t first, std::size_t last, const JumpTables& jump_tables) {
  bool entered = false;
  map.for_each_instruction([&](const PlacedInstruction& placed) {
    const decode::Instruction& in = placed.instruction;
    const std::uint64_t target = placed.offset + in.length + static_cast<std::uint64_t>(in.immediate);
    entered = decode::is_relative_branch(in.cls) && target >= first && target <= last;
    return !entered;
  });
  return entered || jump_tables.may_lead_to(first, last);
}

}  // namespace

std::optional<std::uint32_t> constant_in_eax_at(const CodeMap& map, std::size_t offset,
                                                const JumpTables& jump_tables) noexcept {
  std::size_t at = offset;
  for (int n = 0; n < kFarthest; ++n) {
    const auto before = map.instruction_before(at);
    if (!before) {
      return std::nullopt;
    }
    const Effect effect = effect_of(before->instruction);
    if (effect.kind == Effect::Unknown) {
      return std::nullopt;
    }
    if (effect.kind != Effect::Keeps) {
      auto number =
          effect.kind == Effect::Loads ? std::optional(effect.value) : constant_in(map, effect.value);
      if (!number) {
        number = ConstantOnAllWays(map, effect.value, jump_tables).at(before->offset);
      }
      return number && !may_be_entered(map, at, offset, jump_tables) ? number : std::nullopt;
    }
    at = before->offset;
  }
  return std::nullopt;
}

}  // namespace enclume::engine
