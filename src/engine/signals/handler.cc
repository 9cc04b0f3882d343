// SPDX-License-Identifier: Apache-2.0
// The C++ behind entry/entry.S: what was interrupted, and by what.
#include <cstring>

#include "base/panic.h"
#include "base/syscall.h"
#include "engine/abort_page/execute.h"
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
#include "engine/signals/announce.h"
#include "engine/signals/context.h"
#include "engine/signals/delivery.h"
#include "engine/signals/held.h"
#include "engine/signals/mask.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

namespace {

std::uint64_t address_of(const char* label) {
  return reinterpret_cast<std::uint64_t>(label);
}

bool raised_by_instruction(int signo, const siginfo_t& info) {
  return is_owned(signo) && info.si_code > 0 && !is_asynchronous(info);
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

/// The engine's system call instruction (wherever that is), or behind it.
bool at_gate(std::uint64_t rip) {
  constexpr std::uint64_t kSyscallAndRet = 3;
  return rip - reinterpret_cast<std::uint64_t>(enclume_system_call) < kSyscallAndRet;
}

/// Whether the handler's own end was interrupted, which can be done over.
bool in_exit_window(const SigContext& m) {
  if (at_gate(m.rip)) {
    return m.rax == __NR_rt_sigreturn && m.rdx == EXIT_MARK;
  }
  return m.rip >= address_of(enclume_exit_begin) && m.rip < address_of(enclume_exit_end);
}

bool fix_guarded_copy(UContext& uc) {
  const std::uint64_t rip = uc.mcontext.rip;
  if (rip < address_of(enclume_copy_fault_begin) || rip >= address_of(enclume_copy_fault_end)) {
    return false;
  }
  uc.mcontext.rip = address_of(enclume_copy_fixup);
  return true;
}

/// Whether a front door has its signals blocked. A program without libc may block as many itself.
bool is_front_door(const UContext& uc) {
  const std::uint64_t rip = uc.mcontext.rip;
  return is_front_door_mask(uc.sigmask) &&
         (!Engine::sees_some_raw_calls() || engine().text.contains(LinearAddress(rip)) ||
          (at_gate(rip) && uc.mcontext.rax != __NR_rt_sigreturn));
}

/// Whether the handler's own stack was in use: then it is the engine that was interrupted. While the mode
/// still says "enclave" RSP proves nothing, it may be the enclave's; then only our own code counts, and of
/// what is not in our own text, the way out. So it does otherwise, too, except that the trace of instructions
/// calls a disassembler that lies elsewhere.
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

/// Something arrived while the engine was at work. Nothing of the program may run now: it is noted, and what
/// can be blocked stays blocked until the engine's own return restores the mask. To send it again instead
/// would put a real-time signal behind those queued after it.
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
    } else if (fix_guarded_copy(uc)) {
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
  if (fix_guarded_copy(it.uc)) {
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

}  // namespace

namespace {

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
  Interruption it{*block, *uc, *info, *facts, *plan, e.sgx->kernel().shared.evictions.load()};
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

bool is_step(int signo, const siginfo_t& info) {
  return signo == SIGTRAP && info.si_code == TRAP_TRACE;
}

/// Whether the signal that found the thread on a direct path is to be dealt with where it stands now. What an
/// instruction of the path itself has raised is nobody's, but for a step, which ends there as well.
bool outlives_recovery(Recovered from, int signo, const siginfo_t& info, const SigContext& m) {
  if (is_step(signo, info) || (from == Recovered::AtExit && may_be_enclu(signo, m))) {
    return true;  // a trampoline that finds no thread faults, at what is the ENCLU now
  }
  const DebugTrap trap = debug_trap_of(signo, info, m);
  return trap == DebugTrap::None && !raised_by_instruction(signo, info);
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

/// A thread that the engine has not met: it has no alternate stack of ours and has never been in an enclave.
/// A fault makes it known and happens again. Any other signal goes straight to the program's handler on the
/// very frame that the kernel made, which is the one that the program would have got; unless more is asked
/// for than such a thread can have. Then the frame moves to the engine's stack, and all goes on from there
/// (enclume_take_frame()).
extern "C" void enclume_on_unregistered_signal(int signo, siginfo_t* info, UContext* uc, ExitPlan* plan) {
  Engine& e = engine();
  e.sync_after_fork();
  *plan = ExitPlan{&frame_of(*uc), 0, 0, 0, 0x202, 0, 0, 0};
  if (recover_unregistered(*uc)) {
    if (!outlives_recovery(Recovered::AtEntry, signo, *info, uc->mcontext)) {
      return;
    }
    if (is_step(signo, *info)) {
      info->si_addr = reinterpret_cast<void*>(uc->mcontext.rip);
    }
  }
  // Traps (INT3, single step, a filtered system call) lie behind their instruction: they don't come again.
  const bool repeats = signo != SIGTRAP && signo != SIGSYS;
  const bool raised = raised_by_instruction(signo, *info);
  if (raised && repeats) {
    const bool stepping = (uc->mcontext.flags & arch::rflags::kTf) != 0;  // a trap would be due behind it
    if (fix_guarded_copy(*uc) ||
        (!stepping && uc->mcontext.trapno == static_cast<std::uint64_t>(arch::Vector::GP) &&
         (emulate_patched_cpuid(*uc) || emulate_faulting_cpuid(*uc)))) {
      return;
    }
    if (e.register_thread(*uc) == nullptr) {
      ENCLUME_PANIC("no slot left for another thread");
    }
    return;
  }
  if (wait_in_new_clone(signo, *info, uc->mcontext) || is_kick(signo, *info)) {
    return;
  }
  if (is_request(signo, *info)) {
    if (e.register_thread(*uc) != nullptr) {
      requeue(*info);
    }
    return;
  }
  // From here on nothing nests, or it could make the thread known, and our return forget it again. The mask
  // comes back with rt_sigreturn, or by hand.
  const SignalSet all = ~SignalSet{0};
  sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&all), sys::arg(&plan->mask), sizeof(all));

  const DebuggerMark mark = debugger_mark(*info);
  if (mark == DebuggerMark::Leave) {
    uc->sigmask = leave_mask(*info);
    stop_outside(frame_of(*uc));
    return;
  }
  const SignalSet self = signal_bit(signo);
  const Action action = e.actions.get(signo);
  const bool forced = raised && debug_trap_of(signo, *info, uc->mcontext) != DebugTrap::PerfEvent;
  // Only a registered thread can be given the signal again, or be stopped in its handler.
  const bool shown = is_announced(signo) || mark != DebuggerMark::None;
  if (!action.is_handler() && !shown) {
    if (forced || action.is_default()) {
      end_by_default(*info);
      uc->sigmask &= ~self;
    }
    return;
  }
  const SignalSet handler_mask = action.mask | ((action.flags & SA_NODEFER) == 0 ? self : 0);
  const bool other_stack =
      (action.flags & SA_ONSTACK) == 0 && (uc->stack.flags & SS_DISABLE) == 0 && uc->stack.size != 0;
  const bool in_front_door = is_owned(signo) && !raised && is_front_door(*uc);
  if (shown || other_stack || in_front_door || ((handler_mask | uc->sigmask) & kOwnedSet) != 0) {
    if (ThreadBlock* block = e.register_thread(*uc); block != nullptr) {
      // Below the stack's top, with all that belongs to it.
      const std::uint64_t top = reinterpret_cast<std::uint64_t>(block) - extended_size(*uc);
      plan->frame =
          reinterpret_cast<SignalFrame*>(align_down(align_down(top, 64) - sizeof(SignalFrame), 16) - 8);
      return;
    }
  }
  const Action taken = e.actions.take(signo);
  // Whatever is there: the restorer of libc's own sigaction() would bring back the kernel's mask only.
  plan->frame->return_address = reinterpret_cast<std::uint64_t>(&enclume_restorer);
  uc->mcontext.reserved[0] = 0;  // what the kernel leaves there is not for deliver()'s other end
  plan->handler = taken.handler;
  set_kernel_mask(plan->mask & ~kOwnedSet);
}

/// On the engine's stack: takes the frame over from the program's, where the program's own frame may have to
/// be written, and goes on as for any thread.
extern "C" void enclume_take_frame(const SignalFrame* from, ExitPlan* plan, EntryFacts* facts) {
  SignalFrame& to = *plan->frame;
  to = *from;
  if (const std::uint32_t extended = extended_size(from->uc); extended != 0) {
    const auto fpstate = align_down(reinterpret_cast<std::uint64_t>(&to + 1) + 63, 64);
    to.uc.mcontext.fpstate = reinterpret_cast<std::byte*>(fpstate);
    std::memcpy(to.uc.mcontext.fpstate, from->uc.mcontext.fpstate, extended);
  }
  ThreadBlock& block = *engine().arena.of_stack(reinterpret_cast<std::uint64_t>(&to));
  if (const SignalSet owned = to.uc.sigmask & kOwnedSet; owned != 0) {
    // A thread at its beginning, or a child between vfork and exec; see Engine::adopt_kernel_mask().
    block.virtual_mask.fetch_or(pack_owned(owned));
    to.uc.sigmask &= ~kOwnedSet;
  }
  set_kernel_mask(plan->mask & ~kOwnedSet);
  enclume_on_signal(to.info.si_signo, &to.info, &to.uc, &block, facts, plan);
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
  // first, which is the last that was noted.
  const bool waited = block->waited;
  SignalSet in_force = waited ? block->waiting_mask : frame.uc.sigmask;
  block->waited = false;
  for (std::size_t n = kDeferredSlots; n-- > 0;) {
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
