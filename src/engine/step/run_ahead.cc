// SPDX-License-Identifier: Apache-2.0
#include "engine/step/run_ahead.h"

#include <array>
#include <atomic>
#include <optional>

#include "engine/step/native_alu.h"

namespace enclume::engine {

namespace {

using arch::CpuState;
using arch::Reg;
using decode::Instruction;
using decode::InstructionClass;
using decode::OpcodeMap;

constexpr unsigned kMostInstructions = 32;

/// Jcc, CMOVcc: the low four bits of the opcode (SDM Vol. 1, appendix B).
bool holds(unsigned condition, std::uint64_t flags) {
  using namespace arch::rflags;
  const auto has = [flags](std::uint64_t flag) { return (flags & flag) != 0; };
  bool value = false;
  switch (condition >> 1) {
    case 0:
      value = has(kOf);
      break;
    case 1:
      value = has(kCf);
      break;
    case 2:
      value = has(kZf);
      break;
    case 3:
      value = has(kCf) || has(kZf);
      break;
    case 4:
      value = has(kSf);
      break;
    case 5:
      value = has(kPf);
      break;
    case 6:
      value = has(kSf) != has(kOf);
      break;
    case 7:
      value = has(kZf) || has(kSf) != has(kOf);
      break;
    default:
      break;
  }
  return value != ((condition & 1) != 0);
}

/// Runs on a copy of the registers and keeps stores back, so that it can be given up at any instruction.
class Ahead {
 public:
  Ahead(const CpuState& cpu, AheadMemory& memory) : cpu_(cpu), memory_(memory) {}

  /// False if it is not known here.
  bool step(const Instruction& i) {
    if (i.encoding != decode::Encoding::Legacy || i.lock || i.rep || i.repne || i.operand_size_override ||
        i.address_size_override || i.segment != decode::Segment::None) {
      return false;
    }
    next_ = cpu_.rip + i.length;
    size_ = i.rex_w() ? 8 : 4;
    const bool known = i.map == OpcodeMap::OneByte ? one_byte(i) : i.map == OpcodeMap::Map0F && two_bytes(i);
    cpu_.rip = next_;
    return known;
  }

  [[nodiscard]] std::uint64_t rip() const { return cpu_.rip; }

  void commit(CpuState& cpu) {
    for (std::size_t n = 0; n < stores_; ++n) {
      put(store_[n]);
    }
    cpu.gpr = cpu_.gpr;
    cpu.rip = cpu_.rip;
    cpu.rflags = cpu_.rflags & ~arch::rflags::kRf;
  }

 private:
  struct Store {
    std::uint64_t address;
    std::byte* data;
    unsigned size;
    std::uint64_t value;
  };
  // Whole and in order, as the processor stores: other threads of the enclave may look.
  static void put(const Store& s) {
    if (s.size == 8) {
      std::atomic_ref(*reinterpret_cast<std::uint64_t*>(s.data)).store(s.value, std::memory_order_release);
    } else {
      std::atomic_ref(*reinterpret_cast<std::uint32_t*>(s.data))
          .store(static_cast<std::uint32_t>(s.value), std::memory_order_release);
    }
  }
  static std::uint64_t fetch_operand(std::byte* data, unsigned size) {
    return size == 8
               ? std::atomic_ref(*reinterpret_cast<std::uint64_t*>(data)).load(std::memory_order_acquire)
               : std::atomic_ref(*reinterpret_cast<std::uint32_t*>(data)).load(std::memory_order_acquire);
  }

  // -- Operands

  [[nodiscard]] static std::size_t reg_of(const Instruction& i) {
    return i.modrm_reg() | (i.rex_r() ? 8U : 0U);
  }
  [[nodiscard]] static std::size_t rm_of(const Instruction& i) {
    return i.modrm_rm() | (i.rex_b() ? 8U : 0U);
  }
  [[nodiscard]] static std::size_t low_of(const Instruction& i) {
    return (i.opcode & 7U) | (i.rex_b() ? 8U : 0U);
  }
  [[nodiscard]] std::uint64_t get(std::size_t reg) const {
    return size_ == 8 ? cpu_.gpr[reg] : cpu_.gpr[reg] & 0xffff'ffff;
  }
  void set(std::size_t reg, std::uint64_t value) {
    cpu_.gpr[reg] = size_ == 8 ? value : value & 0xffff'ffff;  // 32 bits clear the upper half
  }
  [[nodiscard]] std::optional<std::uint64_t> address(const Instruction& i) const {
    return decode::effective_address(i, {cpu_.gpr, cpu_.rip, 0, 0});
  }

  bool load(std::uint64_t from, unsigned size, std::uint64_t& value) {
    if (from % size != 0) {
      return false;
    }
    for (std::size_t n = stores_; n-- > 0;) {
      const Store& s = store_[n];
      if (s.address == from && s.size == size) {
        value = s.value;
        return true;
      }
      if (s.address < from + size && from < s.address + s.size) {
        return false;
      }
    }
    std::byte* const data = memory_.operand(from, false);
    if (data != nullptr) {
      value = fetch_operand(data, size);
    }
    return data != nullptr;
  }
  bool store(std::uint64_t to, unsigned size, std::uint64_t value) {
    std::byte* const data = stores_ < store_.size() && to % size == 0 ? memory_.operand(to, true) : nullptr;
    if (data == nullptr) {
      return false;
    }
    store_[stores_++] = {to, data, size, size == 8 ? value : value & 0xffff'ffff};
    return true;
  }

  bool get_rm(const Instruction& i, std::uint64_t& value) {
    if (!i.has_memory_operand) {
      value = get(rm_of(i));
      return true;
    }
    const auto from = address(i);
    return from && load(*from, size_, value);
  }
  bool set_rm(const Instruction& i, std::uint64_t value) {
    if (!i.has_memory_operand) {
      set(rm_of(i), value);
      return true;
    }
    const auto to = address(i);
    return to && store(*to, size_, value);
  }

  // -- Instructions

  std::uint64_t alu(AluOp op, std::uint64_t a, std::uint64_t b) {
    return native_alu(op, size_ == 8, a, b, cpu_.rflags);
  }
  /// Group 1 of the encoding, which is the order of 00..3F, too: ADD, OR, ADC, SBB, AND, SUB, XOR, CMP.
  static AluOp group_one(unsigned n) { return static_cast<AluOp>(n & 7); }

  bool alu_to_rm(const Instruction& i, AluOp op, std::uint64_t b) {
    std::uint64_t a;
    if (!get_rm(i, a)) {
      return false;
    }
    const std::uint64_t result = alu(op, a, b);
    return op == AluOp::Cmp || op == AluOp::Test || set_rm(i, result);
  }

  bool push(std::uint64_t value) {
    cpu_[Reg::Rsp] -= 8;
    return store(cpu_[Reg::Rsp], 8, value);
  }
  bool pop(std::uint64_t& value) {
    if (!load(cpu_[Reg::Rsp], 8, value)) {
      return false;
    }
    cpu_[Reg::Rsp] += 8;
    return true;
  }

  bool one_byte(const Instruction& i) {
    const auto immediate = static_cast<std::uint64_t>(i.immediate);
    const std::uint8_t op = i.opcode;
    if (op < 0x40) {
      const AluOp alu_op = group_one(op >> 3);
      std::uint64_t b;
      switch (op & 7) {
        case 1:
          return alu_to_rm(i, alu_op, get(reg_of(i)));
        case 3: {
          if (!get_rm(i, b)) {
            return false;
          }
          const std::uint64_t result = alu(alu_op, get(reg_of(i)), b);
          if (alu_op != AluOp::Cmp) {
            set(reg_of(i), result);
          }
          return true;
        }
        case 5: {
          const std::uint64_t result = alu(alu_op, get(0), immediate);
          if (alu_op != AluOp::Cmp) {
            set(0, result);
          }
          return true;
        }
        default:
          return false;
      }
    }
    if (op >= 0x50 && op < 0x58) {
      return push(cpu_.gpr[low_of(i)]);
    }
    if (op >= 0x58 && op < 0x60) {
      std::uint64_t value;
      if (!pop(value)) {
        return false;
      }
      cpu_.gpr[low_of(i)] = value;
      return true;
    }
    if (op >= 0x70 && op < 0x80) {
      next_ += holds(op & 15U, cpu_.rflags) ? immediate : 0;
      return true;
    }
    if (op >= 0xb8 && op < 0xc0) {
      set(low_of(i), immediate);
      return true;
    }
    std::uint64_t value;
    switch (op) {
      case 0x63:  // MOVSXD
        if (size_ != 8 || i.has_memory_operand) {
          return false;
        }
        set(reg_of(i),
            static_cast<std::uint64_t>(std::int64_t{static_cast<std::int32_t>(cpu_.gpr[rm_of(i)])}));
        return true;
      case 0x68:
      case 0x6a:
        return push(immediate);
      case 0x81:
      case 0x83:
        return alu_to_rm(i, group_one(i.modrm_reg()), immediate);
      case 0x85:
        return alu_to_rm(i, AluOp::Test, get(reg_of(i)));
      case 0x89:
        return set_rm(i, get(reg_of(i)));
      case 0x8b:
        if (!get_rm(i, value)) {
          return false;
        }
        set(reg_of(i), value);
        return true;
      case 0x8d: {
        const auto place = address(i);
        if (!place) {
          return false;
        }
        set(reg_of(i), *place);
        return true;
      }
      case 0x90:
        return !i.rex_b();  // else it is XCHG
      case 0xa9:
        (void)alu(AluOp::Test, get(0), immediate);
        return true;
      case 0xc1:
      case 0xd1:
        return shift(i, op == 0xc1 ? immediate : 1);
      case 0xc3:
        return pop(next_);
      case 0xc7:
        return i.modrm_reg() == 0 && set_rm(i, immediate);
      case 0xc9:  // LEAVE
        cpu_[Reg::Rsp] = cpu_[Reg::Rbp];
        return pop(cpu_[Reg::Rbp]);
      case 0xe8: {
        const std::uint64_t target = next_ + immediate;
        if (!push(next_)) {
          return false;
        }
        next_ = target;
        return true;
      }
      case 0xe9:
      case 0xeb:
        next_ += immediate;
        return true;
      case 0xf7:
        return group_three(i, immediate);
      case 0xff:
        return i.modrm_reg() < 2 && alu_to_rm(i, i.modrm_reg() == 0 ? AluOp::Inc : AluOp::Dec, 0);
      default:
        return false;
    }
  }

  bool shift(const Instruction& i, std::uint64_t count) {
    switch (i.modrm_reg()) {
      case 4:
        return alu_to_rm(i, AluOp::Shl, count);
      case 5:
        return alu_to_rm(i, AluOp::Shr, count);
      case 7:
        return alu_to_rm(i, AluOp::Sar, count);
      default:
        return false;
    }
  }

  bool group_three(const Instruction& i, std::uint64_t immediate) {
    switch (i.modrm_reg()) {
      case 0:
        return alu_to_rm(i, AluOp::Test, immediate);
      case 2:
        return alu_to_rm(i, AluOp::Not, 0);
      case 3:
        return alu_to_rm(i, AluOp::Neg, 0);
      default:
        return false;
    }
  }

  bool two_bytes(const Instruction& i) {
    const std::uint8_t op = i.opcode;
    if (op >= 0x40 && op < 0x50) {
      std::uint64_t value;
      if (!get_rm(i, value)) {
        return false;
      }
      set(reg_of(i), holds(op & 15U, cpu_.rflags) ? value : get(reg_of(i)));
      return true;
    }
    if (op >= 0x80 && op < 0x90) {
      next_ += holds(op & 15U, cpu_.rflags) ? static_cast<std::uint64_t>(i.immediate) : 0;
      return true;
    }
    return op == 0x1f;  // NOP
  }

  CpuState cpu_;
  AheadMemory& memory_;
  std::uint64_t next_ = 0;
  unsigned size_ = 8;
  std::array<Store, 8> store_;
  std::size_t stores_ = 0;
};

}  // namespace

bool run_ahead(CpuState& cpu, AheadMemory& memory, decode::BranchRule branches) noexcept {
  Ahead ahead(cpu, memory);
  for (unsigned n = 0; n < kMostInstructions; ++n) {
    std::byte code[decode::kMaxInstructionLength];
    const std::size_t size = memory.fetch(ahead.rip(), code);
    const auto instruction = decode::decode({code, size}, branches);
    if (!instruction) {
      return false;
    }
    if (instruction->cls == InstructionClass::Enclu) {
      ahead.commit(cpu);
      return true;
    }
    if (!ahead.step(*instruction)) {
      return false;
    }
  }
  return false;
}

}  // namespace enclume::engine
