// SPDX-License-Identifier: Apache-2.0
#include "engine/abort_page/string_instruction.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "engine/entry/entry.h"

namespace enclume::engine {

namespace {

using arch::CpuState;
using arch::Reg;
using decode::Instruction;

/// Iterations between two looks at pending signals.
constexpr std::uint64_t kBatch = 4096;
constexpr std::uint64_t kAllOnes = ~std::uint64_t{0};

std::uint64_t mask_of(unsigned size) {
  return size == 8 ? kAllOnes : (1ULL << (size * 8)) - 1;
}

/// The operands' size in bytes.
unsigned operand_size(const Instruction& in) {
  if ((in.opcode & 1) == 0) {
    return 1;
  }
  return in.rex_w() ? 8 : in.operand_size_override ? 2 : 4;
}

/// CMP a, b.
void compare(CpuState& cpu, std::uint64_t a, std::uint64_t b, unsigned size) {
  namespace f = arch::rflags;
  const std::uint64_t mask = mask_of(size);
  const std::uint64_t sign = 1ULL << (size * 8 - 1);
  a &= mask;
  b &= mask;
  const std::uint64_t r = (a - b) & mask;
  std::uint64_t flags = 0;
  flags |= a < b ? f::kCf : 0;
  flags |= __builtin_parity(static_cast<unsigned>(r & 0xff)) == 0 ? f::kPf : 0;
  flags |= ((a ^ b ^ r) & 0x10) != 0 ? f::kAf : 0;
  flags |= r == 0 ? f::kZf : 0;
  flags |= (r & sign) != 0 ? f::kSf : 0;
  flags |= ((a ^ b) & (a ^ r) & sign) != 0 ? f::kOf : 0;
  constexpr std::uint64_t kAll = f::kCf | f::kPf | f::kAf | f::kZf | f::kSf | f::kOf;
  cpu.rflags = (cpu.rflags & ~kAll) | flags;
}

class StringUnit {
 public:
  StringUnit(CpuState& cpu, const Instruction& in, const AbortPageAccess& access)
      : cpu_(cpu), in_(in), access_(access), size_(operand_size(in)) {}

  /// One iteration. False if ordinary memory could not be reached; then nothing has changed.
  bool step() {
    switch (in_.opcode & 0xfe) {
      case 0xa4: {  // MOVS
        const auto value = read(source());
        if (!value || !write(target(), *value)) {
          return false;
        }
        advance(true, true);
        return true;
      }
      case 0xa6: {  // CMPS
        const auto a = read(source());
        const auto b = read(target());
        if (!a || !b) {
          return false;
        }
        compare(cpu_, *a, *b, size_);
        advance(true, true);
        return true;
      }
      case 0xaa:  // STOS
        if (!write(target(), cpu_[Reg::Rax])) {
          return false;
        }
        advance(false, true);
        return true;
      case 0xac: {  // LODS
        const auto value = read(source());
        if (!value) {
          return false;
        }
        load_rax(*value);
        advance(true, false);
        return true;
      }
      default: {  // SCAS
        const auto value = read(target());
        if (!value) {
          return false;
        }
        compare(cpu_, cpu_[Reg::Rax], *value, size_);
        advance(false, true);
        return true;
      }
    }
  }

  /// CMPS and SCAS end a repetition by their result.
  [[nodiscard]] bool compares() const {
    const unsigned op = in_.opcode & 0xfe;
    return op == 0xa6 || op == 0xae;
  }

 private:
  [[nodiscard]] std::uint64_t pointer(Reg r) const {
    return in_.address_size_override ? cpu_[r] & 0xffff'ffff : cpu_[r];
  }
  [[nodiscard]] std::uint64_t source() const {
    const std::uint64_t base = in_.segment == decode::Segment::Fs   ? cpu_.fs_base
                               : in_.segment == decode::Segment::Gs ? cpu_.gs_base
                                                                    : 0;
    return base + pointer(Reg::Rsi);
  }
  [[nodiscard]] std::uint64_t target() const { return pointer(Reg::Rdi); }

  [[nodiscard]] bool is_abort(std::uint64_t address) {
    const std::uint64_t page = address & ~kPageMask;
    for (const auto& known : known_) {
      if (known.page == page) {
        return known.abort;
      }
    }
    Known& entry = known_[next_++ % known_.size()];
    entry = {page, access_.is_abort_page(access_.context, LinearAddress(address))};
    return entry.abort;
  }

  /// Calls f(address, offset in the operand, bytes, whether on the abort page) for the one or two pages it is
  /// on.
  template <typename F>
  bool for_each_part(std::uint64_t address, F f) {
    const std::uint64_t room = kPageSize - (address & kPageMask);
    const unsigned first = room < size_ ? static_cast<unsigned>(room) : size_;
    return f(address, 0U, first, is_abort(address)) &&
           (first == size_ || f(address + first, first, size_ - first, is_abort(address + first)));
  }

  std::optional<std::uint64_t> read(std::uint64_t address) {
    std::uint64_t value = kAllOnes;
    const bool done = for_each_part(address, [&](std::uint64_t at, unsigned offset, unsigned n, bool abort) {
      return abort || enclume_guarded_copy(reinterpret_cast<std::byte*>(&value) + offset,
                                           reinterpret_cast<const void*>(at), n) == 0;
    });
    return done ? std::optional(value) : std::nullopt;
  }

  bool write(std::uint64_t address, std::uint64_t value) {
    return for_each_part(address, [&](std::uint64_t at, unsigned offset, unsigned n, bool abort) {
      return abort || enclume_guarded_copy(reinterpret_cast<void*>(at),
                                           reinterpret_cast<const std::byte*>(&value) + offset, n) == 0;
    });
  }

  void load_rax(std::uint64_t value) {
    const std::uint64_t mask = mask_of(size_);
    // A 32-bit result clears the upper half; shorter ones leave the rest.
    const std::uint64_t kept = size_ >= 4 ? 0 : cpu_[Reg::Rax] & ~mask;
    cpu_[Reg::Rax] = kept | (value & mask);
  }

  void advance(bool source, bool target) {
    const std::uint64_t step = (cpu_.rflags & arch::rflags::kDf) != 0 ? 0 - std::uint64_t{size_} : size_;
    const auto move = [&](Reg r) {
      cpu_[r] = in_.address_size_override ? (cpu_[r] + step) & 0xffff'ffff : cpu_[r] + step;
    };
    if (source) {
      move(Reg::Rsi);
    }
    if (target) {
      move(Reg::Rdi);
    }
  }

  struct Known {
    std::uint64_t page = kAllOnes;
    bool abort = false;
  };

  CpuState& cpu_;
  const Instruction& in_;
  const AbortPageAccess& access_;
  unsigned size_;
  std::array<Known, 4> known_{};
  std::size_t next_ = 0;
};

}  // namespace

bool is_string_instruction(const Instruction& in) noexcept {
  if (in.encoding != decode::Encoding::Legacy || in.map != decode::OpcodeMap::OneByte) {
    return false;
  }
  return (in.opcode >= 0xa4 && in.opcode <= 0xa7) || (in.opcode >= 0xaa && in.opcode <= 0xaf);
}

AbortPageOutcome emulate_string_instruction(CpuState& cpu, const Instruction& in,
                                            const AbortPageAccess& access) noexcept {
  StringUnit unit(cpu, in, access);
  const bool repeated = in.rep || in.repne;
  if (!repeated) {
    if (!unit.step()) {
      return {AbortPageEnd::MemoryFault};
    }
    cpu.rip += in.length;
    return {AbortPageEnd::Done};
  }
  const auto count = [&] { return in.address_size_override ? cpu[Reg::Rcx] & 0xffff'ffff : cpu[Reg::Rcx]; };
  std::uint64_t done = 0;
  bool ended = count() == 0;
  while (!ended && done < kBatch) {
    if (!unit.step()) {
      // Ordinary memory that can't be reached.
      return {done != 0 ? AbortPageEnd::Done : AbortPageEnd::MemoryFault};
    }
    ++done;
    cpu[Reg::Rcx] = count() - 1;
    const bool equal = (cpu.rflags & arch::rflags::kZf) != 0;
    ended = count() == 0 || (unit.compares() && equal == in.repne);
  }
  if (ended) {
    cpu.rip += in.length;
  }
  return {AbortPageEnd::Done};
}

}  // namespace enclume::engine
