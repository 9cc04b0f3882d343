// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid_emulation.h"

#include <asm/prctl.h>

#include "arch/cpuid/sgx_leaves.h"
#include "base/syscall.h"
#include "engine/start/host_cpuid.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/start/machine.h"

namespace enclume::engine {

namespace {

constexpr std::uint64_t kCpuidLength = 2;

arch::CpuidResult execute_cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
  // Where CPUID faults, it has to be let through for this thread for a moment.
  const bool faulting = engine().features.cpuid_faulting;
  if (faulting) {
    sys::raw(__NR_arch_prctl, ARCH_SET_CPUID, 1);
  }
  arch::CpuidResult r;
  __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
  if (faulting) {
    sys::raw(__NR_arch_prctl, ARCH_SET_CPUID, 0);
  }
  return r;
}

void emulate(UContext& uc) {
  SigContext& m = uc.mcontext;
  const auto leaf = static_cast<std::uint32_t>(m.rax);
  const auto subleaf = static_cast<std::uint32_t>(m.rcx);
  const arch::CpuidResult r = arch::sgx_cpuid(cpuid_view(), leaf, subleaf, execute_cpuid(leaf, subleaf));
  m.rax = r.eax;
  m.rbx = r.ebx;
  m.rcx = r.ecx;
  m.rdx = r.edx;
  m.rip += kCpuidLength;
}

}  // namespace

bool emulate_patched_cpuid(UContext& uc) {
  if (!host_cpuid().site_at(uc.mcontext.rip)) {
    return false;
  }
  emulate(uc);
  return true;
}

bool emulate_faulting_cpuid(UContext& uc) {
  if (!engine().features.cpuid_faulting) {
    return false;
  }
  std::byte code[2];
  if (enclume_guarded_copy(code, reinterpret_cast<const void*>(uc.mcontext.rip), sizeof(code)) != 0 ||
      code[0] != std::byte{0x0f} || code[1] != std::byte{0xa2}) {
    return false;
  }
  emulate(uc);
  return true;
}

}  // namespace enclume::engine
