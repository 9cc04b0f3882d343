// SPDX-License-Identifier: Apache-2.0
// The C++ behind entry/entry.S: what was interrupted, and by what.
#include <cstring>

#include "base/panic.h"
#include "base/syscall.h"
#include "engine/control/obey.h"
#include "engine/cpuid_emulation.h"
#include "engine/debug_trap.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/fast/read_watch.h"
#include "engine/fast/recover.h"
#include "engine/raw/clone.h"
#include "engine/raw/signal_calls.h"
#include "engine/raw/trapped_call.h"
#include "engine/self_check.h"
#include "engine/sgx.h"
#include "engine/shared_machine.h"
#include "engine/signals/announce.h"
#include "engine/signals/context.h"
#include "engine/signals/delivery.h"
#include "engine/signals/held.h"
#include "engine/signals/interrupted.h"
#include "engine/signals/mask.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

namespace {

/// The same for a front door, which runs as a part of the program: what it reads for the kernel's half, the
/// kernel would read.
bool is_watchpoint_in_front_door(int signo, const siginfo_t& info, const UContext& uc) {
  const DebugTrap trap = debug_trap_of(signo, info, uc.mcontext);
  return (trap == DebugTrap::DebugRegister || trap == DebugTrap::PerfEvent) &&
         engine().text.contains(LinearAddress(uc.mcontext.rip)) && !is_code_breakpoint(uc.mcontext, false);
}

siginfo_t single_step_at(std::uint64_t rip) {
  siginfo_t info{};
  info.si_signo = SIGTRAP;
  info.si_code = TRAP_TRACE;
  info.si_addr = reinterpret_cast<void*>(rip);
  return info;
}

/// The mask in force now, before a nested signal changed it.
SignalSet mask_at_entry(const ThreadBlock& block) {
  const SignalSet now = kernel_mask();
  return block.mask_saved.load(std::memory_order_relaxed) != 0 ? block.mask : now;
}

/// A fault of host code. True if it is dealt with and the program sees nothing.
bool handle_host_fault(int signo, Interruption& it, siginfo_t& report) {
  SigContext& m = it.uc.mcontext;
  if (signo == SIGSYS) {
    return false;  // no exception: vector and error code are those of the thread's last one
  }
  if (signo == SIGTRAP) {
    return is_watchpoint_in_front_door(signo, it.info, it.uc);
  }
  if (fix_own_fault(it.uc)) {
    return true;  // a front door, on the program's own stack
  }
  if (may_be_enclu(signo, m)) {
    if (m.trapno == static_cast<std::uint64_t>(arch::Vector::GP) &&
        (emulate_patched_cpuid(it.uc) || emulate_faulting_cpuid(it.uc))) {
      if ((m.flags & arch::rflags::kTf) == 0) {
        return true;
      }
      report = single_step_at(m.rip);
      m.trapno = static_cast<std::uint64_t>(arch::Vector::DB);
      m.err = 0;
      return false;
    }
    if (engine().sgx->at_enclu(it)) {
      return engine().sgx->host_enclu(it, report);
    }
  }
  if (m.trapno == static_cast<std::uint64_t>(arch::Vector::OF) && engine().sgx->at_enclu(it)) {
    return engine().sgx->host_overflow(it, report);
  }
  if (m.trapno == static_cast<std::uint64_t>(arch::Vector::PF)) {
    return engine().sgx->host_page_fault(it, report);
  }
  return false;
}

/// A signal that interrupted the program or its enclave.
void handle(int signo, siginfo_t* info, UContext* uc, ThreadBlock* block, const EntryFacts* facts,
            ExitPlan* plan) {
  Engine& e = engine();
  e.sync_after_fork();
  if ((uc->sigmask & kOwnedSet) != 0) {
    // libc was handing the whole mask on, to a thread or a program. The handler may do anything.
    sys::raw(__NR_rt_sigprocmask, SIG_UNBLOCK, sys::arg(&kOwnedSet), 0, sizeof(kOwnedSet));
  }
  plan->flags = 0x202 | (uc->mcontext.flags & (arch::rflags::kId | arch::rflags::kNt));
  if (facts->enclave == 0 && is_read_watch(*info)) {
    return;  // host code may read what it likes
  }
  const std::uint64_t evictions = has_joined_machine() ? e.sgx->kernel().shared.evictions.load() : 0;
  Interruption it{*block, *uc, *info, *facts, *plan, evictions};
  switch (finish_clone(signo, it)) {
    case CloneEnd::NotThere:
      break;
    case CloneEnd::Settled:
      return;
    case CloneEnd::Filtered: {
      siginfo_t refused = *info;
      refused.si_call_addr = reinterpret_cast<void*>(uc->mcontext.rip);
      deliver(*block, *plan->frame, refused, Cause::Fault, uc->sigmask);
      return;
    }
  }
  block->stop_in_handler = false;
  switch (debugger_mark(*info)) {
    case DebuggerMark::None:
    case DebuggerMark::Breakpoints:
      break;
    case DebuggerMark::HandlerEntry:
    case DebuggerMark::Left:
      return;  // the tracer is gone, or has passed it on: it is no signal
    case DebuggerMark::Leave:
      if (facts->enclave != 0) {
        siginfo_t cause = *info;
        cause.si_signo = info->si_value.sival_int;
        Interruption by_cause{*block, *uc, cause, *facts, *plan, it.evictions};
        (void)e.sgx->enclave_interrupt(by_cause);
      }
      uc->sigmask = leave_mask(*info);
      stop_outside(*plan->frame);
      return;
    case DebuggerMark::Step:
      info->si_errno = 0;
      block->stop_in_handler = true;
      break;
    case DebuggerMark::Announced:
    case DebuggerMark::AnnouncedStep:
      if (facts->enclave == 0) {
        siginfo_t first = *info;
        if (const auto cause = take_announced(*block, *uc, first)) {
          const SignalSet mask = *cause == Cause::Fault ? uc->sigmask : mask_at_entry(*block);
          deliver(*block, *plan->frame, first, *cause, mask, true);
          return;
        }
      }
      break;
  }
  const bool fault = raised_by_instruction(signo, *info);
  const bool perf_trap = debug_trap_of(signo, *info, uc->mcontext) == DebugTrap::PerfEvent;
  const SignalSet mask = fault ? uc->sigmask : mask_at_entry(*block);

  siginfo_t report = *info;
  if (debugger_mark(*info) == DebuggerMark::Breakpoints) {
    report.si_errno = 0;
    report.si_addr = reinterpret_cast<void*>(uc->mcontext.rip);
  }
  if (facts->enclave == 0 && (is_trapped_call(signo, *info) || is_patched_call(signo, *info, uc->mcontext))) {
    if (trapped_call(it, report)) {
      return;
    }
  } else if (facts->enclave != 0) {
    if (fault ? e.sgx->enclave_fault(signo, it, report) : e.sgx->enclave_interrupt(it)) {
      return;
    }
  } else if (fault && handle_host_fault(signo, it, report)) {
    return;
  }
  if (is_kick(signo, *info)) {
    return;  // this thread is not inside (any more)
  }
  if (is_request(signo, *info)) {
    if (facts->enclave == 0 && is_front_door(*uc) && !block->waits_with_mask) {
      keep_request(*block, *info);
      wait_for_front_door(*block);
    } else {
      obey(*info);
    }
    return;
  }
  if (!fault && facts->enclave == 0 && is_owned(signo) && is_front_door(*uc) && !block->waits_with_mask) {
    hold_for_front_door(*block, report);
    return;
  }
  // Linux sends a perf event's trap, while it forces all others: blocked it comes later and kills nobody.
  if (perf_trap && (block->virtual_mask & pack_owned(signal_bit(signo))) != 0) {
    mark_asynchronous(report);
  }
  deliver(*block, *plan->frame, report, fault && !perf_trap ? Cause::Fault : Cause::Sent, mask);
}

/// Goes on where a direct path began, or ended.
void back_from_direct_path(Recovered from, const UContext& uc, const EntryFacts& facts, ExitPlan& plan) {
  plan.flags = 0x202 | (uc.mcontext.flags & (arch::rflags::kId | arch::rflags::kNt));
  if (from == Recovered::Entered || from == Recovered::AtExit) {
    plan.enclave = 1;
    plan.fs = facts.fs;
    plan.gs = facts.gs;
  }
}

}  // namespace

extern "C" void enclume_on_signal(int signo, siginfo_t* info, UContext* uc, ThreadBlock* block,
                                  EntryFacts* facts, ExitPlan* plan) {
  *plan = ExitPlan{&frame_of(*uc), 0, 0, 0, 0x202, 0, 0, 0};
  ENCLUME_CHECK(block->self == block, {"rsp", uc->mcontext.rsp});
  block->handler_tid = 0;  // another thread's, perhaps, after a fork
  const bool int3 = debug_trap_of(signo, *info, uc->mcontext) == DebugTrap::Breakpoint;
  const Recovered from = recover_direct_path(*uc, *block, *facts, int3);
  if (from == Recovered::Elsewhere && interrupted_engine(*block, *uc, *facts)) {
    on_nested(signo, *info, *uc, *block, *facts, *plan);
    return;
  }
  // Not in a nested signal: the one below it may have found a direct path halfway, and has yet to settle
  // that.
  settle(*block);
  if (from != Recovered::Elsewhere) {
    if (!outlives_recovery(from, signo, *info, uc->mcontext)) {
      back_from_direct_path(from, *uc, *facts, *plan);
      return;
    }
    if (is_step(signo, *info)) {
      info->si_addr = reinterpret_cast<void*>(uc->mcontext.rip);
    }
  } else if (facts->enclave == 0 && leave_cpuid_stub(*uc) && is_step(signo, *info)) {
    info->si_addr = reinterpret_cast<void*>(uc->mcontext.rip);
  }
  const std::uint64_t began = engine().stats.now();
  handle(signo, info, uc, block, facts, plan);
  if (engine().stats.on()) [[unlikely]] {
    engine().stats.add(block->slot, Count::Signals);
    engine().stats.add(block->slot, Count::TicksEngine, engine().stats.now() - began);
  }
  if (engine().debug && !engine().in_vfork_child()) {
    check_thread(*block, *plan, sys::gettid());
  }
}

extern "C" void enclume_on_deferred(ThreadBlock* block, ExitPlan* plan) {
  if (plan->enclave != 0) {
    engine().sgx->leave_enclave(*block, plan->frame->uc, *plan);
  }
  const std::uint32_t deferred =
      block->deferred.fetch_and(~(kDeferredKick | kDeferredLeave), std::memory_order_relaxed);
  SignalFrame& frame = *plan->frame;
  const bool in_front_door = is_front_door(frame.uc) && plan->enclave == 0;
  obey_kept_request(*block, in_front_door);
  // As with several signals pending in the kernel, the last that is delivered here runs first. Those that can
  // be blocked go before the owned ones, whose handlers might block them, and among them the one that came
  // first, which is the last that was noted. The owned ones, which all are of the kernel's SYNCHRONOUS_MASK,
  // go by their numbers.
  const bool waited = block->waited;
  SignalSet in_force = waited ? block->waiting_mask : frame.uc.sigmask;
  block->waited = false;
  constexpr std::size_t kOthers = kDeferredSlots - kDeferredOwned;
  for (std::size_t i = 0; i < kDeferredSlots; ++i) {
    const std::size_t n = i < kOthers ? kDeferredSlots - 1 - i : i - kOthers;
    const std::uint32_t bit = kDeferredSignal << n;
    if ((block->deferred.load(std::memory_order_relaxed) & bit) == 0) {
      continue;
    }
    const siginfo_t info = block->deferred_signals[n];
    block->deferred.fetch_and(~bit, std::memory_order_relaxed);
    if (block->waits_with_mask && !waited) {
      requeue(info);  // nothing has ended the wait: all is blocked till then
      continue;
    }
    if (n >= kDeferredOwned && (in_force & signal_bit(info.si_signo)) != 0) {
      requeue(info);  // the handler that starts now blocks it
      continue;
    }
    if (n < kDeferredOwned && in_front_door) {
      hold_for_front_door(*block, info);
      continue;
    }
    const std::uint64_t rsp = frame.uc.mcontext.rsp;
    deliver(*block, frame, info, Cause::Sent, in_force);
    if (frame.uc.mcontext.rsp != rsp) {
      in_force = frame.uc.sigmask;
    }
  }
  if (waited) {
    end_wait_without_handler(*block);
  }
  if ((deferred & kDeferredLeave) != 0) {
    stop_outside(frame);
  }
}

}  // namespace enclume::engine
