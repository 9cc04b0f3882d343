// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>

#include "arch/machine.h"
#include "engine/fast/undo.h"

namespace enclume::engine {

using arch::Reg;

using Wide = unsigned __int128;

Undo::Result Undo::load(Part to, unsigned size, bool with_sign, bool swapped) {
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

template <typename F>
Undo::Result Undo::find_base(Part to, unsigned size, F&& result) {
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

Undo::Result Undo::arithmetic(unsigned op, Part to) {
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

Undo::Result Undo::imul(Part to) {
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

Undo::Result Undo::wide_arithmetic(unsigned size) {
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
          is_signed ? static_cast<std::uint64_t>(static_cast<std::int64_t>(sign_extended(product, size * 2)) /
                                                 static_cast<std::int64_t>(m))
                    : product / m;
    }
    low.set(cpu_, quotient);
    return again();
  }
  const Wide divisor = is_signed ? static_cast<Wide>(static_cast<__int128>(static_cast<std::int64_t>(m))) : m;
  const Wide q =
      is_signed ? static_cast<Wide>(static_cast<__int128>(static_cast<std::int64_t>(sign_extended(a, size))))
                : a;
  const Wide r =
      is_signed ? static_cast<Wide>(static_cast<__int128>(static_cast<std::int64_t>(sign_extended(d, size))))
                : d;
  const Wide dividend = q * divisor + r;
  low.set(cpu_, static_cast<std::uint64_t>(dividend));
  high.set(cpu_, static_cast<std::uint64_t>(dividend >> (size * 8)));
  return again();
}

Undo::Result Undo::crc32(unsigned size) {
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

Undo::Result Undo::xlat() {
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

}  // namespace enclume::engine
