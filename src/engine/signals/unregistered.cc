// SPDX-License-Identifier: Apache-2.0
// Signals of threads that the engine has not met.
#include <cstring>

#include "base/panic.h"
#include "base/syscall.h"
#include "engine/control/obey.h"
#include "engine/cpuid_emulation.h"
#include "engine/debug_trap.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/fast/recover.h"
#include "engine/raw/clone.h"
#include "engine/signals/announce.h"
#include "engine/signals/context.h"
#include "engine/signals/delivery.h"
#include "engine/signals/interrupted.h"
#include "engine/signals/mask.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

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
    if (fix_own_fault(*uc) ||
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

}  // namespace enclume::engine
