// SPDX-License-Identifier: Apache-2.0
// One attempt to explain the registers by one instruction. Private to reader.cc and undo_*.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "arch/cpu_state.h"
#include "engine/decode/decoder.h"
#include "engine/fast/reader.h"
#include "engine/fast/reader_tables.h"

namespace enclume::engine {

/// The most that an instruction reads in one place, save x87's and XRSTOR's states.
constexpr std::uint64_t kVectorSize = 64;
constexpr std::uint64_t kStateSize = 16384;

inline std::uint64_t mask_of(unsigned size) {
  return size >= 8 ? ~std::uint64_t{0} : (1ULL << (size * 8)) - 1;
}

inline std::uint64_t sign_extended(std::uint64_t value, unsigned size) {
  const unsigned unused = 64 - size * 8;
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << unused) >> unused);
}

inline bool overlap(std::uint64_t address, std::uint64_t size, std::uint64_t word) {
  return address < word + 8 && word < address + size;
}

[[nodiscard]] bool is_string(const decode::Instruction& i);
[[nodiscard]] unsigned operand_size(const decode::Instruction& i);

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
  void set(arch::CpuState& cpu, std::uint64_t value) const {
    std::uint64_t& whole = cpu.gpr[reg];
    const std::uint64_t part = value & mask_of(size);
    whole = (whole & kept()) | (high ? part << 8 : part);
  }
};

/// What of the register that ModRM.reg names is `size` bytes wide.
[[nodiscard]] Part part_of(const decode::Instruction& i, unsigned size);

/// One attempt to explain the registers by one instruction.
class Undo {
 public:
  Undo(arch::CpuState& cpu, std::uint64_t begin, std::span<const std::byte> code,
       const decode::Instruction& i, std::uint64_t word, ReaderMemory& memory)
      : cpu_(cpu), begin_(begin), code_(code), i_(i), word_(word), memory_(memory) {}

  /// Whether it can have read the word; and, if so and that can be, the registers are put back.
  struct Result {
    bool fits = false;
    bool undone = false;
  };
  Result run();

  /// A string instruction: between iterations, or behind the last one.
  Result string();

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
  bool read(std::uint64_t at, unsigned size, std::uint64_t& seen, std::uint64_t& own);

  [[nodiscard]] std::byte prefix(unsigned before_opcode) const {
    return code_[i_.opcode_offset - before_opcode];
  }
  /// VEX.vvvv, with EVEX's fifth bit.
  [[nodiscard]] std::size_t second_source() const {
    const bool evex = i_.encoding == decode::Encoding::Evex;
    const auto vvvv = ~std::to_integer<unsigned>(prefix(evex ? 2 : 1)) >> 3 & 15U;
    const auto fifth = evex ? ~std::to_integer<unsigned>(prefix(1)) >> 3 & 1U : 0U;
    return vvvv | fifth << 4;
  }
  [[nodiscard]] std::size_t vector_register() const {
    const auto fifth =
        i_.encoding == decode::Encoding::Evex ? ~std::to_integer<unsigned>(prefix(3)) >> 4 & 1U : 0U;
    return i_.modrm_reg() | (i_.rex_r() ? 8U : 0U) | fifth << 4;
  }

  /// Calls f() if a vector operand, or a larger state, can be on the word.
  template <typename F>
  Result vector(F&& f) {
    const bool state = i_.map == decode::OpcodeMap::Map0F && i_.opcode == 0xae;
    const auto at = address();
    // Of EVEX the displacement's unit is not known, and of VSIB there is no one address.
    return !at || overlap(*at, state ? kStateSize : kVectorSize, word_) ? f() : Result{};
  }

  /// Whether the result has gone to another register than the one that it is made of.
  [[nodiscard]] bool to_another() const {
    return i_.encoding != decode::Encoding::Legacy && second_source() != vector_register();
  }

  // -- The maps of opcodes: undo.cc

  Result from_stack(std::uint64_t size);
  Result one_byte();
  /// A register is overwritten; its old value is not needed unless the address had it.
  Result overwritten(std::size_t reg, unsigned size);
  Result mapped(char what);
  /// BT with a register: the bit may be anywhere.
  Result bit_test(unsigned size);
  /// ANDN, BZHI, PDEP, MULX, ...: with a second source, and a second target or none.
  Result mixed_gpr();
  Result special();

  // -- General registers: undo_registers.cc

  /// What is loaded is `size` bytes, made as wide as `to`.
  Result load(Part to, unsigned size, bool with_sign, bool swapped = false);
  /// The register that has been written was part of the address: tries all addresses that touch the word,
  /// until one explains what is in it now. `result(old, read)` is what the instruction writes.
  template <typename F>
  Result find_base(Part to, unsigned size, F&& result);
  /// ADD, OR, ADC, SBB, AND, SUB, XOR from memory to a register.
  Result arithmetic(unsigned op, Part to);
  Result imul(Part to);
  /// MUL, IMUL, DIV, IDIV of RDX:RAX (AX, with bytes).
  Result wide_arithmetic(unsigned size);
  /// CRC32: each bit shifts right, and where a 1 falls out the polynomial is added, whose own last bit shows
  /// that it was.
  Result crc32(unsigned size);
  Result xlat();

  // -- x87 and vectors: undo_vectors.cc

  Result x87();
  void pop_x87();
  /// The difference that the jump has made, taken back out of the vector, and put in again by the same
  /// instruction with what it should have read: in one step here, since the old value does not matter.
  Result mixed_back(Use use);
  static void take_back(std::byte* vector, const std::byte* seen, const std::byte* own, Use use);

  arch::CpuState& cpu_;
  const std::uint64_t begin_;
  const std::span<const std::byte> code_;
  const decode::Instruction& i_;
  const std::uint64_t word_;
  ReaderMemory& memory_;
};

}  // namespace enclume::engine
