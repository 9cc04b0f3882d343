// SPDX-License-Identifier: Apache-2.0
#include "engine/signals/context.h"

#include <cstring>

#include "engine/engine.h"

namespace enclume::engine {

namespace {

constexpr std::uint64_t kFlagsOfSigreturn =
    arch::rflags::kAc | arch::rflags::kOf | arch::rflags::kDf | arch::rflags::kTf | arch::rflags::kSf |
    arch::rflags::kZf | arch::rflags::kAf | arch::rflags::kPf | arch::rflags::kCf | arch::rflags::kRf;

constexpr std::size_t kXstateBv = 512;
constexpr std::size_t kMxcsr = 24;
constexpr std::uint32_t kMxcsrDefault = 0x1f80;

bool has_xsave(const UContext& uc) {
  return uc.mcontext.fpstate != nullptr && (uc.flags & kUcFpXstate) != 0 &&
         fpx_sw(uc.mcontext.fpstate).magic1 == kFpXstateMagic1;
}

void store_u64(std::byte* p, std::uint64_t v) {
  std::memcpy(p, &v, sizeof(v));
}

bool has_pkru(const UContext& uc) {
  return has_xsave(uc) && (fpx_sw(uc.mcontext.fpstate).xfeatures & kPkruFeature) != 0;
}

std::uint32_t pkru_offset() {
  return engine().xsave_layout[kPkruComponent].offset;
}

}  // namespace

arch::CpuState load_state(const UContext& uc, std::uint64_t fs, std::uint64_t gs) {
  const SigContext& m = uc.mcontext;
  arch::CpuState cpu;
  cpu.gpr = {m.rax, m.rcx, m.rdx, m.rbx, m.rsp, m.rbp, m.rsi, m.rdi,
             m.r8,  m.r9,  m.r10, m.r11, m.r12, m.r13, m.r14, m.r15};
  cpu.rip = m.rip;
  cpu.rflags = m.flags;
  cpu.fs_base = fs;
  cpu.gs_base = gs;
  if (has_xsave(uc)) {
    const FpxSwBytes& sw = fpx_sw(m.fpstate);
    cpu.xsave = {m.fpstate, sw.xstate_size, sw.xfeatures, engine().xsave_layout.data()};
  }
  return cpu;
}

void store_state(UContext& uc, const arch::CpuState& cpu, ExitPlan& plan) {
  SigContext& m = uc.mcontext;
  const auto& g = cpu.gpr;
  m.rax = g[0];
  m.rcx = g[1];
  m.rdx = g[2];
  m.rbx = g[3];
  m.rsp = g[4];
  m.rbp = g[5];
  m.rsi = g[6];
  m.rdi = g[7];
  m.r8 = g[8];
  m.r9 = g[9];
  m.r10 = g[10];
  m.r11 = g[11];
  m.r12 = g[12];
  m.r13 = g[13];
  m.r14 = g[14];
  m.r15 = g[15];
  m.rip = cpu.rip;
  m.flags = (m.flags & ~kFlagsOfSigreturn) | (cpu.rflags & kFlagsOfSigreturn);
  plan.flags = 0x202 | (cpu.rflags & (arch::rflags::kId | arch::rflags::kNt));
  plan.fs = cpu.fs_base;
  plan.gs = cpu.gs_base;
}

void reset_extended_state(UContext& uc) {
  if (!has_xsave(uc)) {
    return;
  }
  std::byte* area = uc.mcontext.fpstate;
  // An XRSTOR of a component whose XSTATE_BV bit is clear makes it initial; MXCSR comes from memory always.
  store_u64(area + kXstateBv, 0);
  std::memcpy(area + kMxcsr, &kMxcsrDefault, sizeof(kMxcsrDefault));
  set_frame_pkru(uc, outside_fence(enclume_handler_pkru, enclume_epc_fence));
}

Pkru frame_pkru(const UContext& uc) {
  return has_pkru(uc) ? xsave_pkru(uc.mcontext.fpstate, pkru_offset()) : 0;
}

void set_frame_pkru(UContext& uc, Pkru pkru) {
  if (has_pkru(uc)) {
    set_xsave_pkru(uc.mcontext.fpstate, pkru_offset(), pkru);
  }
}

std::uint32_t extended_size(const UContext& uc) {
  if (uc.mcontext.fpstate == nullptr) {
    return 0;
  }
  return has_xsave(uc) ? fpx_sw(uc.mcontext.fpstate).extended_size : 512;
}

}  // namespace enclume::engine
