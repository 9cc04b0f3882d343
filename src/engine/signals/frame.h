// SPDX-License-Identifier: Apache-2.0
// The kernel's signal frame on x86-64, as bytes: what rt_sigreturn reads back.
// Source: Linux arch/x86/include/uapi/asm/{sigcontext,ucontext}.h and arch/x86/kernel/signal_64.c.
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>

#include "engine/entry/layout.h"

namespace enclume::engine {

/// 64 signals; bit n is signal n + 1, as in the kernel's sigset_t.
using SignalSet = std::uint64_t;

constexpr SignalSet signal_bit(int signo) {
  return 1ULL << (signo - 1);
}

/// struct sigaltstack
struct AltStack {
  std::uint64_t sp = 0;
  std::int32_t flags = SS_DISABLE;
  std::int32_t pad = 0;
  std::uint64_t size = 0;
};
static_assert(sizeof(AltStack) == 24);

/// SS_AUTODISARM: while a handler runs on the stack there is none.
inline constexpr std::uint32_t kAutodisarm = 1U << 31;

/// struct sigcontext_64
struct SigContext {
  std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  std::uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip;
  std::uint64_t flags;
  std::uint16_t cs, gs, fs, ss;
  std::uint64_t err, trapno, oldmask, cr2;
  std::byte* fpstate;
  std::uint64_t reserved[8];
};
static_assert(sizeof(SigContext) == 256);

/// struct ucontext
struct UContext {
  std::uint64_t flags;
  std::uint64_t link;
  AltStack stack;
  SigContext mcontext;
  SignalSet sigmask;
};
static_assert(offsetof(UContext, mcontext) == 40 && offsetof(UContext, sigmask) == 296);
static_assert(sizeof(UContext) == 304);
static_assert(offsetof(UContext, mcontext.r8) == UC_R8 && offsetof(UContext, mcontext.r9) == UC_R9);
static_assert(offsetof(UContext, mcontext.r10) == UC_R10 && offsetof(UContext, mcontext.r11) == UC_R11);
static_assert(offsetof(UContext, mcontext.r12) == UC_R12 && offsetof(UContext, mcontext.r13) == UC_R13);
static_assert(offsetof(UContext, mcontext.r14) == UC_R14 && offsetof(UContext, mcontext.r15) == UC_R15);
static_assert(offsetof(UContext, mcontext.rdi) == UC_RDI && offsetof(UContext, mcontext.rsi) == UC_RSI);
static_assert(offsetof(UContext, mcontext.rbp) == UC_RBP && offsetof(UContext, mcontext.rbx) == UC_RBX);
static_assert(offsetof(UContext, mcontext.rdx) == UC_RDX && offsetof(UContext, mcontext.rax) == UC_RAX);
static_assert(offsetof(UContext, mcontext.rcx) == UC_RCX && offsetof(UContext, mcontext.rsp) == UC_RSP);
static_assert(offsetof(UContext, mcontext.rip) == UC_RIP);

/// struct rt_sigframe: RSP points here when the handler begins.
struct SignalFrame {
  std::uint64_t return_address;
  UContext uc;
  siginfo_t info;
};
static_assert(sizeof(siginfo_t) == 128 && sizeof(SignalFrame) == 8 + 304 + 128);

/// struct _fpx_sw_bytes, at offset 464 of the FXSAVE area.
struct FpxSwBytes {
  std::uint32_t magic1;
  std::uint32_t extended_size;
  std::uint64_t xfeatures;
  std::uint32_t xstate_size;
  std::uint32_t padding[7];
};
static_assert(sizeof(FpxSwBytes) == 48);

inline constexpr std::uint32_t kFpXstateMagic1 = 0x46505853;
inline constexpr std::uint64_t kUcFpXstate = 1;  ///< uc_flags: fpstate is an XSAVE image

inline FpxSwBytes& fpx_sw(std::byte* fpstate) {
  return *reinterpret_cast<FpxSwBytes*>(fpstate + 464);
}

/// The frame around a ucontext that the kernel passed to a handler.
inline SignalFrame& frame_of(UContext& uc) {
  return *reinterpret_cast<SignalFrame*>(reinterpret_cast<std::byte*>(&uc) - offsetof(SignalFrame, uc));
}

}  // namespace enclume::engine
