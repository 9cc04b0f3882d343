// SPDX-License-Identifier: Apache-2.0
#include "engine/signals/interrupted.h"

#include "base/syscall.h"
#include "engine/debug_trap.h"
#include "engine/engine.h"
#include "engine/fast/thread_descriptor.h"
#include "engine/sgx.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

namespace {
std::uint64_t address_of(const char* label) {
  return reinterpret_cast<std::uint64_t>(label);
}

}  // namespace

bool raised_by_instruction(int signo, const siginfo_t& info) {
  return is_owned(signo) && info.si_code > 0 && !is_asynchronous(info);
}

bool is_step(int signo, const siginfo_t& info) {
  return signo == SIGTRAP && info.si_code == TRAP_TRACE;
}

bool fix_own_fault(UContext& uc) {
  const std::uint64_t rip = uc.mcontext.rip;
  if (rip == address_of(enclume_int80_instruction)) {
    uc.mcontext.rip = address_of(enclume_int80_missing);
    return true;
  }
  if (rip < address_of(enclume_copy_fault_begin) || rip >= address_of(enclume_copy_fault_end)) {
    return false;
  }
  uc.mcontext.rip = address_of(enclume_copy_fixup);
  return true;
}

bool at_gate(std::uint64_t rip) {
  return engine().gate.contains(LinearAddress(rip));
}

bool is_front_door(const UContext& uc) {
  const std::uint64_t rip = uc.mcontext.rip;
  return is_front_door_mask(uc.sigmask) &&
         (!Engine::sees_some_raw_calls() || engine().text.contains(LinearAddress(rip)) ||
          (at_gate(rip) && uc.mcontext.rax != __NR_rt_sigreturn));
}

bool outlives_recovery(Recovered from, int signo, const siginfo_t& info, const SigContext& m) {
  if (is_step(signo, info) || (from == Recovered::AtExit && may_be_enclu(signo, m))) {
    return true;  // a trampoline that finds no thread faults, at what is the ENCLU now
  }
  const DebugTrap trap = debug_trap_of(signo, info, m);
  return trap == DebugTrap::None && !raised_by_instruction(signo, info);
}

}  // namespace enclume::engine
