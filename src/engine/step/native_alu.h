// SPDX-License-Identifier: Apache-2.0
// Integer arithmetic by the processor's own instructions: results and flags are its own, undefined ones too.
#pragma once

#include <cstdint>

#include "arch/cpu_state.h"

namespace enclume::engine {

/// The first eight as the encoding numbers them.
enum class AluOp : std::uint8_t {
  Add,
  Or,
  Adc,
  Sbb,
  And,
  Sub,
  Xor,
  Cmp,
  Test,
  Inc,
  Dec,
  Not,
  Neg,
  Shl,
  Shr,
  Sar
};

/// `a` op `b`, with 64 bits or 32; what has one operand takes `a`. Takes the carry from `rflags` and puts the
/// status flags there. Of 32 bits the upper half of the result is zero. Signal context: safe.
inline std::uint64_t native_alu(AluOp op, bool wide, std::uint64_t a, std::uint64_t b,
                                std::uint64_t& rflags) noexcept {
  constexpr std::uint64_t kStatus = arch::rflags::kCf | arch::rflags::kPf | arch::rflags::kAf |
                                    arch::rflags::kZf | arch::rflags::kSf | arch::rflags::kOf;
  std::uint64_t flags = (rflags & kStatus) | arch::rflags::kIf | 2;
  // Nothing may use memory below RSP here: the engine is built without a red zone.
#define ENCLUME_ALU(instruction)                                               \
  __asm__ volatile("pushq %1\n\tpopfq\n\t" instruction "\n\tpushfq\n\tpopq %1" \
                   : "+&r"(a), "+&r"(flags)                                    \
                   : "c"(b)                                                    \
                   : "cc", "memory");                                          \
  break
  if (wide) {
    switch (op) {
      case AluOp::Add:
        ENCLUME_ALU("addq %2, %0");
      case AluOp::Or:
        ENCLUME_ALU("orq %2, %0");
      case AluOp::Adc:
        ENCLUME_ALU("adcq %2, %0");
      case AluOp::Sbb:
        ENCLUME_ALU("sbbq %2, %0");
      case AluOp::And:
        ENCLUME_ALU("andq %2, %0");
      case AluOp::Sub:
        ENCLUME_ALU("subq %2, %0");
      case AluOp::Xor:
        ENCLUME_ALU("xorq %2, %0");
      case AluOp::Cmp:
        ENCLUME_ALU("cmpq %2, %0");
      case AluOp::Test:
        ENCLUME_ALU("testq %2, %0");
      case AluOp::Inc:
        ENCLUME_ALU("incq %0");
      case AluOp::Dec:
        ENCLUME_ALU("decq %0");
      case AluOp::Not:
        ENCLUME_ALU("notq %0");
      case AluOp::Neg:
        ENCLUME_ALU("negq %0");
      case AluOp::Shl:
        ENCLUME_ALU("shlq %%cl, %0");
      case AluOp::Shr:
        ENCLUME_ALU("shrq %%cl, %0");
      case AluOp::Sar:
        ENCLUME_ALU("sarq %%cl, %0");
    }
  } else {
    switch (op) {
      case AluOp::Add:
        ENCLUME_ALU("addl %k2, %k0");
      case AluOp::Or:
        ENCLUME_ALU("orl %k2, %k0");
      case AluOp::Adc:
        ENCLUME_ALU("adcl %k2, %k0");
      case AluOp::Sbb:
        ENCLUME_ALU("sbbl %k2, %k0");
      case AluOp::And:
        ENCLUME_ALU("andl %k2, %k0");
      case AluOp::Sub:
        ENCLUME_ALU("subl %k2, %k0");
      case AluOp::Xor:
        ENCLUME_ALU("xorl %k2, %k0");
      case AluOp::Cmp:
        ENCLUME_ALU("cmpl %k2, %k0");
      case AluOp::Test:
        ENCLUME_ALU("testl %k2, %k0");
      case AluOp::Inc:
        ENCLUME_ALU("incl %k0");
      case AluOp::Dec:
        ENCLUME_ALU("decl %k0");
      case AluOp::Not:
        ENCLUME_ALU("notl %k0");
      case AluOp::Neg:
        ENCLUME_ALU("negl %k0");
      case AluOp::Shl:
        ENCLUME_ALU("shll %%cl, %k0");
      case AluOp::Shr:
        ENCLUME_ALU("shrl %%cl, %k0");
      case AluOp::Sar:
        ENCLUME_ALU("sarl %%cl, %k0");
    }
    a &= 0xffff'ffff;
  }
#undef ENCLUME_ALU
  rflags = (rflags & ~kStatus) | (flags & kStatus);
  return a;
}

}  // namespace enclume::engine
