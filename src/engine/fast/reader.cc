// SPDX-License-Identifier: Apache-2.0
#include "engine/fast/reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>

#include "arch/machine.h"
#include "base/types.h"
#include "engine/fast/reader_tables.h"

namespace enclume::engine {

namespace {

using arch::CpuState;
using arch::Reg;
using decode::Encoding;
using decode::Instruction;
using decode::OpcodeMap;

using Wide = unsigned __int128;

/// Bytes in front from which the code is decoded to find where the instruction begins: see exit_load.cc.
constexpr std::size_t kRunUp = 64;
/// The most that an instruction reads in one place, save x87's and XRSTOR's states.
constexpr std::uint64_t kVectorSize = 64;
constexpr std::uint64_t kStateSize = 16384;

// The XSAVE area.
constexpr std::size_t kStatusWord = 2;
constexpr std::size_t kTagByte = 4;
constexpr std::size_t kX87Registers = 32;
constexpr std::size_t kXmm = 160;
constexpr std::size_t kXstateBv = 512;
constexpr std::uint64_t kSse = 2;
constexpr std::uint64_t kAvx = 4;

std::uint64_t mask_of(unsigned size) {
  return size >= 8 ? ~std::uint64_t{0} : (1ULL << (size * 8)) - 1;
}

std::uint64_t sign_extended(std::uint64_t value, unsigned size) {
  const unsigned unused = 64 - size * 8;
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << unused) >> unused);
}

bool overlap(std::uint64_t address, std::uint64_t size, std::uint64_t word) {
  return address < word + 8 && word < address + size;
}

bool is_string(const Instruction& i) {
  return i.encoding == Encoding::Legacy && i.map == OpcodeMap::OneByte &&
         ((i.opcode >= 0xa4 && i.opcode <= 0xa7) || (i.opcode >= 0xac && i.opcode <= 0xaf));
}

unsigned operand_size(const Instruction& i) {
  return i.rex_w() ? 8 : i.operand_size_override ? 2 : 4;
}

/// A general register, or the part of one, that an instruction has written.
struct Part {
  std::size_t reg = 0;
  unsigned size = 8;
  bool high = false;  ///< AH, CH, DH, BH

  [[nodiscard]] std::uint64_t of(std::uint64_t whole) const {
    return (high ? whole >> 8 : whole) & mask_of(size);
  }
  /// What of the register was not written with it.
  [[nodiscard]] std::uint64_t kept() const {
    return size >= 4 ? 0 : high ? ~std::uint64_t{0xff00} : ~mask_of(size);
  }
  void set(CpuState& cpu, std::uint64_t value) const {
    std::uint64_t& whole = cpu.gpr[reg];
    const std::uint64_t part = value & mask_of(size);
    whole = (whole & kept()) | (high ? part << 8 : part);
  }
};

Part part_of(const Instruction& i, unsigned size) {
  const std::size_t number = i.modrm_reg() | (i.rex_r() ? 8U : 0U);
  if (size == 1 && i.rex == 0 && number >= 4) {
    return {number - 4, 1, true};
  }
  return {number, size, false};
}

/// One attempt to explain the registers by one instruction.
class Undo {
 public:
  Undo(CpuState& cpu, std::uint64_t begin, std::span<const std::byte> code, const Instruction& i,
       std::uint64_t word, ReaderMemory& memory)
      : cpu_(cpu), begin_(begin), code_(code), i_(i), word_(word), memory_(memory) {}

  /// Whether it can have read the word; and, if so and that can be, the registers are put back.
  struct Result {
    bool fits = false;
    bool undone = false;
  };
  Result run() {
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

  /// A string instruction: between iterations, or behind the last one.
  Result string() {
    const unsigned size = (i_.opcode & 1) != 0 ? operand_size(i_) : 1;
    const bool down = (cpu_.rflags & arch::rflags::kDf) != 0;
    const std::uint64_t step = down ? -std::uint64_t{size} : size;
    const bool source = i_.opcode <= 0xa7 || i_.opcode == 0xac || i_.opcode == 0xad;
    const bool target = i_.opcode == 0xa6 || i_.opcode == 0xa7 || i_.opcode >= 0xae;  // read there
    const bool moves_target = i_.opcode <= 0xa7 || i_.opcode >= 0xae;
    const std::uint64_t from = cpu_[Reg::Rsi] - step + segment_base();
    if (i_.address_size_override || !((source && overlap(from, size, word_)) ||
                                      (target && overlap(cpu_[Reg::Rdi] - step, size, word_)))) {
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

 private:
  [[nodiscard]] Result again() {
    cpu_.rip = begin_;
    return {true, true};
  }
  static Result lost() { return {true, false}; }

  [[nodiscard]] std::uint64_t segment_base() const {
    return i_.segment == decode::Segment::Fs   ? cpu_.fs_base
           : i_.segment == decode::Segment::Gs ? cpu_.gs_base
                                               : 0;
  }
  [[nodiscard]] std::optional<std::uint64_t> address() const {
    return decode::effective_address(i_, {cpu_.gpr, begin_, cpu_.fs_base, cpu_.gs_base});
  }
  [[nodiscard]] bool reads_word(std::uint64_t size) const {
    const auto at = address();
    return at && overlap(*at, size, word_);
  }
  [[nodiscard]] bool addressed_by(std::size_t reg) const {
    return i_.memory.base == reg || (i_.memory.index == reg && !i_.memory.rip_relative);
  }
  bool read(std::uint64_t at, unsigned size, std::uint64_t& seen, std::uint64_t& own) {
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

  // -- General registers

  /// What is loaded is `size` bytes, made as wide as `to`.
  Result load(Part to, unsigned size, bool with_sign, bool swapped = false) {
    const auto loaded = [=](std::uint64_t, std::uint64_t m) {
      if (swapped) {
        m = __builtin_bswap64(m) >> (64 - size * 8);
      }
      return with_sign ? sign_extended(m, size) : m;
    };
    if (!addressed_by(to.reg)) {
      return reads_word(size) ? again() : Result{};
    }
    return find_base(to, size, loaded);
  }

  /// The register that has been written was part of the address: tries all addresses that touch the word,
  /// until one explains what is in it now. `result(old, read)` is what the instruction writes.
  template <typename F>
  Result find_base(Part to, unsigned size, F&& result) {
    const decode::MemoryOperand& m = i_.memory;
    const bool base = m.base == to.reg;
    const bool index = m.index == to.reg;
    if (base == index || i_.address_size_override || m.rip_relative) {
      return base && index ? lost() : Result{};
    }
    std::uint64_t rest = static_cast<std::uint64_t>(m.displacement) + segment_base();
    if (base && m.index != decode::kNoRegister) {
      rest += cpu_.gpr[m.index] * m.scale;
    } else if (index && m.base != decode::kNoRegister) {
      rest += cpu_.gpr[m.base];
    }
    const std::uint64_t now = cpu_.gpr[to.reg];
    std::optional<std::uint64_t> found;
    std::uint64_t gives = 0;
    for (std::uint64_t at = word_ - size + 1; at != word_ + 8; ++at) {
      std::uint64_t old = at - rest;
      if (index && old % m.scale != 0) {
        continue;
      }
      old = index ? old / m.scale : old;
      std::uint64_t seen, own;
      if (((old ^ now) & to.kept()) != 0 || !read(at, size, seen, own) ||
          ((result(to.of(old), seen) ^ to.of(now)) & mask_of(to.size)) != 0) {
        continue;
      }
      const std::uint64_t right = result(to.of(old), own) & mask_of(to.size);
      if (found && right != gives) {
        return lost();  // it may have been either
      }
      found = old;
      gives = right;
    }
    if (!found) {
      return {};
    }
    cpu_.gpr[to.reg] = *found;
    return again();
  }

  /// ADD, OR, ADC, SBB, AND, SUB, XOR from memory to a register.
  Result arithmetic(unsigned op, Part to) {
    if (addressed_by(to.reg)) {
      return find_base(to, to.size, [op, this](std::uint64_t old, std::uint64_t m) {
        const std::uint64_t carry = op == 2 || op == 3 ? cpu_.rflags & arch::rflags::kCf : 0;
        return op == 0   ? old + m
               : op == 1 ? (old | m)
               : op == 2 ? old + m + carry
               : op == 3 ? old - m - carry
               : op == 4 ? (old & m)
               : op == 5 ? old - m
                         : old ^ m;
      });
    }
    std::uint64_t seen, own;
    if (!reads_word(to.size)) {
      return {};
    }
    if (!read(*address(), to.size, seen, own)) {
      return lost();
    }
    const std::uint64_t now = to.of(cpu_.gpr[to.reg]);
    const bool carry_out = (cpu_.rflags & arch::rflags::kCf) != 0;
    switch (op) {
      case 0:
        to.set(cpu_, now - seen);
        return again();
      case 1:  // what it has set and should not have is lost
        return (seen & ~own) == 0 ? again() : lost();
      case 2:
      case 3:
        // The carry that came in is not known, and where both are possible the result does not depend on it.
        for (unsigned carry = 0; carry < 2; ++carry) {
          const std::uint64_t old = (op == 2 ? now - seen - carry : now + seen + carry) & mask_of(to.size);
          const Wide sum = op == 2 ? Wide{old} + seen + carry : Wide{old} - seen - carry;
          if (((sum >> (to.size * 8) & 1) != 0) == carry_out) {
            to.set(cpu_, old);
            cpu_.rflags = (cpu_.rflags & ~arch::rflags::kCf) | carry;
            return again();
          }
        }
        return lost();
      case 4:
        return (own & ~seen) == 0 ? again() : lost();
      case 5:
        to.set(cpu_, now + seen);
        return again();
      default:
        to.set(cpu_, now ^ seen);
        return again();
    }
  }

  Result imul(Part to) {
    std::uint64_t seen, own;
    if (addressed_by(to.reg)) {
      return lost();
    }
    if (!reads_word(to.size)) {
      return {};
    }
    if (!read(*address(), to.size, seen, own) || seen % 2 == 0) {
      return lost();
    }
    std::uint64_t inverse = seen;  // right in three bits; each round doubles them
    for (int round = 0; round < 5; ++round) {
      inverse *= 2 - seen * inverse;
    }
    to.set(cpu_, to.of(cpu_.gpr[to.reg]) * inverse);
    return again();
  }

  /// MUL, IMUL, DIV, IDIV of RDX:RAX (AX, with bytes).
  Result wide_arithmetic(unsigned size) {
    constexpr unsigned kMul = 4, kImul = 5;
    const unsigned op = i_.modrm_reg();
    if (addressed_by(0) || (size > 1 && addressed_by(2))) {
      return lost();
    }
    if (!reads_word(size)) {
      return {};
    }
    std::uint64_t seen, own;
    if (!read(*address(), size, seen, own) || seen == 0) {
      return lost();
    }
    const bool is_signed = (op & 1) != 0;
    const Part low{0, size, false};
    const Part high = size == 1 ? Part{0, 1, true} : Part{2, size, false};
    const std::uint64_t a = low.of(cpu_.gpr[0]);
    const std::uint64_t d = high.of(cpu_.gpr[high.reg]);
    const std::uint64_t m = is_signed ? sign_extended(seen, size) : seen;
    if (op == kMul || op == kImul) {
      std::uint64_t quotient;
      if (size == 8) {
        std::uint64_t rest = d;
        quotient = a;
        if (is_signed) {
          __asm__("idivq %2" : "+a"(quotient), "+d"(rest) : "r"(m) : "cc");
        } else {
          __asm__("divq %2" : "+a"(quotient), "+d"(rest) : "r"(m) : "cc");
        }
      } else {
        const std::uint64_t product = d << (size * 8) | a;
        quotient =
            is_signed
                ? static_cast<std::uint64_t>(static_cast<std::int64_t>(sign_extended(product, size * 2)) /
                                             static_cast<std::int64_t>(m))
                : product / m;
      }
      low.set(cpu_, quotient);
      return again();
    }
    const Wide divisor =
        is_signed ? static_cast<Wide>(static_cast<__int128>(static_cast<std::int64_t>(m))) : m;
    const Wide q =
        is_signed
            ? static_cast<Wide>(static_cast<__int128>(static_cast<std::int64_t>(sign_extended(a, size))))
            : a;
    const Wide r =
        is_signed
            ? static_cast<Wide>(static_cast<__int128>(static_cast<std::int64_t>(sign_extended(d, size))))
            : d;
    const Wide dividend = q * divisor + r;
    low.set(cpu_, static_cast<std::uint64_t>(dividend));
    high.set(cpu_, static_cast<std::uint64_t>(dividend >> (size * 8)));
    return again();
  }

  /// CRC32: each bit shifts right, and where a 1 falls out the polynomial is added, whose own last bit shows
  /// that it was.
  Result crc32(unsigned size) {
    const Part to{part_of(i_, 4).reg, 4, false};
    if (addressed_by(to.reg)) {
      return lost();
    }
    if (!reads_word(size)) {
      return {};
    }
    std::uint64_t seen, own;
    if (!read(*address(), size, seen, own)) {
      return lost();
    }
    constexpr std::uint32_t kPolynomial = 0x82f63b78;
    auto crc = static_cast<std::uint32_t>(cpu_.gpr[to.reg]);
    for (unsigned part = size > 4 ? 2 : 1; part-- > 0;) {
      for (unsigned bit = 0; bit < std::min(size, 4U) * 8; ++bit) {
        crc = (crc >> 31) != 0 ? (crc ^ kPolynomial) << 1 | 1 : crc << 1;
      }
      crc ^= static_cast<std::uint32_t>(seen >> (part * 32));
    }
    to.set(cpu_, crc);
    return again();
  }

  // -- The maps

  Result from_stack(std::uint64_t size) {
    const std::uint64_t old = cpu_[Reg::Rsp] - size;
    if (!overlap(old, size, word_)) {
      return {};
    }
    cpu_[Reg::Rsp] = old;
    return again();
  }

  Result one_byte() {
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

  Result xlat() {
    const Part al{0, 1, false};
    const std::uint64_t now = al.of(cpu_.gpr[0]);
    const std::uint64_t table = cpu_[Reg::Rbx] + segment_base();
    std::optional<std::uint64_t> found;
    for (std::uint64_t at = word_; at != word_ + 8; ++at) {
      std::uint64_t seen, own;
      if (at - table > 0xff || !read(at, 1, seen, own) || seen != now) {
        continue;
      }
      if (found) {
        return lost();
      }
      found = at - table;
    }
    if (!found || i_.address_size_override) {
      return {};
    }
    al.set(cpu_, *found);
    return again();
  }

  Result x87() {
    const unsigned op = i_.opcode;
    const unsigned reg = i_.modrm_reg();
    const std::uint64_t size = kStateSize / 64;  // FRSTOR's is the largest
    const auto is = [&](unsigned opcode, unsigned digits) {
      return op == opcode && (digits >> reg & 1) != 0;
    };
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
  void pop_x87() {
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

  /// A register is overwritten; its old value is not needed unless the address had it.
  Result overwritten(std::size_t reg, unsigned size) {
    if (addressed_by(reg)) {
      return lost();
    }
    return reads_word(size) ? again() : Result{};
  }

  [[nodiscard]] std::byte prefix(unsigned before_opcode) const {
    return code_[i_.opcode_offset - before_opcode];
  }
  /// VEX.vvvv, with EVEX's fifth bit.
  [[nodiscard]] std::size_t second_source() const {
    const bool evex = i_.encoding == Encoding::Evex;
    const auto vvvv = ~std::to_integer<unsigned>(prefix(evex ? 2 : 1)) >> 3 & 15U;
    const auto fifth = evex ? ~std::to_integer<unsigned>(prefix(1)) >> 3 & 1U : 0U;
    return vvvv | fifth << 4;
  }
  [[nodiscard]] std::size_t vector_register() const {
    const auto fifth = i_.encoding == Encoding::Evex ? ~std::to_integer<unsigned>(prefix(3)) >> 4 & 1U : 0U;
    return i_.modrm_reg() | (i_.rex_r() ? 8U : 0U) | fifth << 4;
  }

  Result mapped(char what) {
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

  /// Calls f() if a vector operand, or a larger state, can be on the word.
  template <typename F>
  Result vector(F&& f) {
    const bool state = i_.map == OpcodeMap::Map0F && i_.opcode == 0xae;
    const auto at = address();
    // Of EVEX the displacement's unit is not known, and of VSIB there is no one address.
    return !at || overlap(*at, state ? kStateSize : kVectorSize, word_) ? f() : Result{};
  }

  /// Whether the result has gone to another register than the one that it is made of.
  [[nodiscard]] bool to_another() const {
    return i_.encoding != Encoding::Legacy && second_source() != vector_register();
  }

  /// The difference that the jump has made, taken back out of the vector, and put in again by the same
  /// instruction with what it should have read: in one step here, since the old value does not matter.
  Result mixed_back(Use use) {
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
  static void take_back(std::byte* vector, const std::byte* seen, const std::byte* own, Use use) {
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

  /// BT with a register: the bit may be anywhere.
  Result bit_test(unsigned size) {
    const auto at = address();
    const std::uint64_t bit = sign_extended(cpu_.gpr[part_of(i_, size).reg] & mask_of(size), size);
    const auto words = static_cast<std::uint64_t>(static_cast<std::int64_t>(bit) >> (size == 8   ? 6
                                                                                     : size == 4 ? 5
                                                                                                 : 4));
    return at && overlap(*at + words * size, size, word_) ? again() : Result{};
  }

  /// ANDN, BZHI, PDEP, MULX, ...: with a second source, and a second target or none.
  Result mixed_gpr() {
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

  Result special() {
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

  CpuState& cpu_;
  const std::uint64_t begin_;
  const std::span<const std::byte> code_;
  const Instruction& i_;
  const std::uint64_t word_;
  ReaderMemory& memory_;
};

}  // namespace

bool undo_read(CpuState& cpu, std::uint64_t word, ReaderMemory& memory,
               decode::BranchRule branches) noexcept {
  std::array<std::byte, kRunUp + decode::kMaxInstructionLength> code;
  const std::uint64_t in_page = cpu.rip % kPageSize;
  // Between two iterations RF is set, and only there (debug_trap.h).
  if ((cpu.rflags & arch::rflags::kRf) != 0) {
    const std::size_t room = std::min<std::uint64_t>(decode::kMaxInstructionLength, kPageSize - in_page);
    if (memory.own(cpu.rip, code.data(), room)) {
      const auto next = decode::decode({code.data(), room}, branches);
      if (next && is_string(*next) && (next->rep || next->repne)) {
        return Undo(cpu, cpu.rip, {code.data(), room}, *next, word, memory).string().undone;
      }
    }
  }
  std::size_t before = kRunUp;
  if (!memory.own(cpu.rip - before, code.data(), before)) {
    before = std::min<std::uint64_t>(before, in_page);
    if (before == 0 || !memory.own(cpu.rip - before, code.data(), before)) {
      return false;
    }
  }
  const std::span<const std::byte> text(code.data(), before);

  // How many streams of instructions that begin in front have one of this length that ends at RIP.
  std::array<unsigned, decode::kMaxInstructionLength + 1> streams{};
  for (std::size_t begin = 0; begin < before; ++begin) {
    std::size_t now = begin;
    while (now < before) {
      const auto instruction = decode::decode(
          text.subspan(now, std::min<std::size_t>(before - now, decode::kMaxInstructionLength)), branches);
      if (!instruction) {
        break;
      }
      now += instruction->length;
      if (now == before) {
        ++streams[instruction->length];
      }
    }
  }
  // The likeliest that can have read the word. Of two that are alike the longer one: the other is its end.
  for (;;) {
    const auto best = std::max_element(streams.rbegin(), streams.rend());
    if (*best == 0) {
      return false;
    }
    const auto length = static_cast<std::size_t>(streams.rend() - best) - 1;
    *best = 0;
    const auto one = text.subspan(before - length);
    const auto instruction = decode::decode(one, branches);
    const auto result = Undo(cpu, cpu.rip - length, one, *instruction, word, memory).run();
    if (result.fits) {
      return result.undone;
    }
  }
}

}  // namespace enclume::engine
