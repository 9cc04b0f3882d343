// SPDX-License-Identifier: Apache-2.0
// Signals that interrupt the engine itself.
#include "base/panic.h"
#include "base/syscall.h"
#include "engine/abort_page/execute.h"
#include "engine/control/obey.h"
#include "engine/debug_trap.h"
#include "engine/engine.h"
#include "engine/raw/signal_calls.h"
#include "engine/raw/trapped_call.h"
#include "engine/signals/announce.h"
#include "engine/signals/delivery.h"
#include "engine/signals/interrupted.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

namespace {

std::uint64_t address_of(const char* label) {
  return reinterpret_cast<std::uint64_t>(label);
}

/// A data breakpoint that the engine's own code has hit, or a step of a tracer's through it: where it stands
/// for the processor or the kernel there is no such access, and no such instruction.
bool is_debug_trap_of_engine(int signo, const siginfo_t& info, const UContext& uc) {
  switch (debug_trap_of(signo, info, uc.mcontext)) {
    case DebugTrap::DebugRegister:
    case DebugTrap::PerfEvent:
    case DebugTrap::SingleStep:
      return true;
    case DebugTrap::None:
    case DebugTrap::Breakpoint:
    case DebugTrap::Icebp:
      break;
  }
  return false;
}

/// Whether the handler's own end was interrupted, which can be done over.
bool in_exit_window(const SigContext& m) {
  if (at_gate(m.rip)) {
    return m.rax == __NR_rt_sigreturn && m.rdx == EXIT_MARK;
  }
  return m.rip >= address_of(enclume_exit_begin) && m.rip < address_of(enclume_exit_end);
}

[[noreturn]] void engine_fault(int signo, const siginfo_t& info, const UContext& uc) {
  (void)info;
  ENCLUME_PANIC("fault in the engine", {"signal", static_cast<std::uint64_t>(signo)},
                {"offset in libenclume-engine.so", LinearAddress(uc.mcontext.rip) - engine().text.begin},
                {"address", uc.mcontext.cr2});
}

/// Keeps a signal for the exit code. The bit comes first: a nested handler that finds it set leaves the
/// siginfo alone. False if there is one already.
bool defer(ThreadBlock& block, std::size_t n, const siginfo_t& info) {
  const std::uint32_t bit = kDeferredSignal << n;
  if ((block.deferred.fetch_or(bit, std::memory_order_relaxed) & bit) != 0) {
    return false;
  }
  block.deferred_signals[n] = info;
  return true;
}

bool defer_other(ThreadBlock& block, const siginfo_t& info) {
  for (std::size_t n = kDeferredOwned; n < kDeferredSlots; ++n) {
    if (defer(block, n, info)) {
      return true;
    }
  }
  return false;
}

}  // namespace

bool interrupted_engine(const ThreadBlock& block, const UContext& uc, const EntryFacts& facts) {
  const SigContext& m = uc.mcontext;
  const bool on_our_stack = engine().arena.of_stack(m.rsp) == &block;
  if (at_gate(m.rip)) {
    return on_our_stack && (facts.enclave == 0 || m.rax == __NR_rt_sigreturn);
  }
  if (engine().text.contains(LinearAddress(m.rip)) || is_relocated_code(m.rip)) {
    return facts.enclave != 0 || on_our_stack;
  }
  return engine().trace_instructions && facts.enclave == 0 && on_our_stack;
}

void on_nested(int signo, const siginfo_t& info, UContext& uc, ThreadBlock& block, const EntryFacts& facts,
               ExitPlan& plan) {
  plan.nested = 1;
  plan.enclave = facts.enclave;
  plan.fs = facts.fs;
  plan.gs = facts.gs;
  // Until here more can come: of several pending signals the kernel stacks the frames, and the last one's
  // handler runs first. From here on nothing that can be blocked comes.
  const SignalSet all = kBlockable;
  sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&all), 0, sizeof(all));
  const bool window = in_exit_window(uc.mcontext);
  if (window) {
    uc.mcontext.rip = address_of(enclume_exit_begin);
    plan.enclave = 0;
  }
  const bool raised = raised_by_instruction(signo, info);
  if (!raised) {
    leave_call_to_program(uc.mcontext);
  }
  if (is_read_watch(info)) {
    count_own_read();
  } else if (is_debug_trap_of_engine(signo, info, uc)) {
    // Nobody's.
  } else if (debugger_mark(info) == DebuggerMark::Leave) {
    block.deferred.fetch_or(kDeferredLeave, std::memory_order_relaxed);
    uc.sigmask = leave_mask(info);
  } else if (raised) {
    if (take_filtered_call(block, uc.mcontext, signo, info)) {
      // The handler that made the call hands it on.
    } else if (fix_own_fault(uc)) {
      block.copy_fault = {info, uc.mcontext.trapno, uc.mcontext.err, uc.mcontext.cr2};
    } else if (!fix_relocated_fault(uc)) {
      engine_fault(signo, info, uc);
    }
  } else if (is_kick(signo, info)) {
    block.deferred.fetch_or(kDeferredKick, std::memory_order_relaxed);
  } else if (is_request(signo, info)) {
    keep_request(block, info);
    block.deferred.fetch_or(kDeferredKick, std::memory_order_relaxed);
  } else if (is_owned(signo)) {
    // One that was there already stands for both, as a pending signal does.
    defer(block, static_cast<std::size_t>(__builtin_ctz(pack_owned(signal_bit(signo)))), info);
  } else if (!defer_other(block, info)) {
    requeue(info);
  }
  if ((block.deferred.load(std::memory_order_relaxed) & (kDeferredOthers | kDeferredLeave)) != 0) {
    if (!window && (uc.sigmask & kBlockable) != kBlockable) {
      block.mask = uc.sigmask;
      block.mask_saved.store(1, std::memory_order_relaxed);
    }
    uc.sigmask |= kBlockable;
  }
}

}  // namespace enclume::engine
