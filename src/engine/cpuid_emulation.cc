// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid_emulation.h"

#include <asm/prctl.h>

#include "arch/cpu_state.h"
#include "arch/cpuid/sgx_leaves.h"
#include "base/syscall.h"
#include "engine/decode/decoder.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/start/host_code.h"
#include "engine/start/machine.h"

namespace enclume::engine {

namespace {

constinit std::span<const CpuidLeaf> known;

}  // namespace

arch::CpuidResult machine_cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
  for (const CpuidLeaf& entry : known) {
    if (entry.leaf == leaf && (entry.subleaf == subleaf || entry.subleaf == CpuidLeaf::kAnySubleaf)) {
      return entry.result;
    }
  }
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

namespace {

void emulate(UContext& uc, std::uint64_t length) {
  SigContext& m = uc.mcontext;
  const auto leaf = static_cast<std::uint32_t>(m.rax);
  const auto subleaf = static_cast<std::uint32_t>(m.rcx);
  const arch::CpuidResult r = arch::sgx_cpuid(cpuid_view(), leaf, subleaf, machine_cpuid(leaf, subleaf));
  m.rax = r.eax;
  m.rbx = r.ebx;
  m.rcx = r.ecx;
  m.rdx = r.edx;
  m.rip += length;
  m.flags &= ~arch::rflags::kRf;  // as after any instruction that completes
}

}  // namespace

void know_cpuid(std::span<const CpuidLeaf> leaves) {
  known = leaves;
}

std::optional<arch::CpuidResult> constant_cpuid(std::uint32_t leaf, std::optional<std::uint32_t> subleaf) {
  // The answer to leaf 0 is among them, or nothing is.
  if (known.empty() || arch::sgx_changes_leaf(machine_cpuid(0, 0).eax, leaf)) {
    return std::nullopt;
  }
  for (const CpuidLeaf& entry : known) {
    if (entry.leaf == leaf && (entry.subleaf == CpuidLeaf::kAnySubleaf || entry.subleaf == subleaf)) {
      return entry.result;
    }
  }
  return std::nullopt;
}

bool leave_cpuid_stub(UContext& uc) {
  SigContext& m = uc.mcontext;
  const auto stub = host_patcher().stubs().stub_at(m.rip);
  StubBytes bytes;
  if (!stub || enclume_guarded_copy(bytes.data(), reinterpret_cast<const void*>(*stub), sizeof(bytes)) != 0) {
    return false;
  }
  const auto end = CpuidStubs::complete(*stub, bytes, m.rip);
  if (!end) {
    return false;  // the program has put something of its own there
  }
  m.rax = end->result.eax;
  m.rbx = end->result.ebx;
  m.rcx = end->result.ecx;
  m.rdx = end->result.edx;
  m.rip = end->rip;
  if (end->sets_flags) {
    using namespace arch::rflags;
    m.flags = (m.flags & ~(kCf | kAf | kSf | kOf)) | kZf | kPf;
  }
  return true;
}

bool emulate_patched_cpuid(UContext& uc) {
  const auto site = host_patcher().site_at(uc.mcontext.rip);
  if (!site || site->kind != SiteKind::Cpuid) {
    return false;
  }
  emulate(uc, site->length);
  return true;
}

bool emulate_faulting_cpuid(UContext& uc) {
  if (!engine().features.cpuid_faulting) {
    return false;
  }
  std::byte code[decode::kMaxInstructionLength];
  const std::size_t missing =
      enclume_guarded_copy(code, reinterpret_cast<const void*>(uc.mcontext.rip), sizeof(code));
  const auto instruction = decode::decode({code, sizeof(code) - missing});
  if (!instruction || instruction->cls != decode::InstructionClass::Cpuid) {
    return false;
  }
  emulate(uc, instruction->length);
  return true;
}

}  // namespace enclume::engine
