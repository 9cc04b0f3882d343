// SPDX-License-Identifier: Apache-2.0
#include "engine/signals/delivery.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/syscall.h"
#include "base/types.h"
#include "engine/bases.h"
#include "engine/engine.h"
#include "engine/signals/announce.h"
#include "engine/signals/context.h"
#include "engine/signals/held.h"
#include "engine/signals/mask.h"
#include "engine/start/host_code.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

namespace {

constexpr std::uint64_t kRedZone = 128;

bool on_stack(const AltStack& stack, std::uint64_t sp) {
  // Linux __on_sig_stack(): the stack grows down, so its top counts and its bottom does not.
  return sp > stack.sp && sp - stack.sp <= stack.size;
}

/// In a word of the frame that the kernel never reads: what the interrupted code waits for, and what it hands
/// on, in a byte each below this mark.
constexpr std::uint64_t kWaitMark = 0x656e636c77610000;
constexpr std::uint64_t kWaitMarkBits = ~std::uint64_t{0xffff};

constexpr std::size_t kOwnerWord = 1;  // of SigContext::reserved: see owner_of()

/// Whether the rt_sigreturn of a restorer comes in. If only patched instructions do, it has to be one of
/// them: behind MOV of the number to EAX or RAX, with ENDBR64 before that or not.
bool is_seen(std::uint64_t restorer) {
  return Engine::sees_raw_calls() || std::ranges::any_of(std::array{5, 7, 9, 11}, [&](int offset) {
           const auto site = host_patcher().site_at(restorer + static_cast<std::uint64_t>(offset));
           return site && site->kind == SiteKind::Syscall;
         });
}

/// Where the program's handler returns. Of its own restorer its system calls must be seen; without one the
/// kernel can't make a frame (Linux x64_setup_rt_frame()), which is 0 here.
std::uint64_t restorer_of(const Action& action) {
  const bool own = (action.flags & kSetWithoutLibc) != 0 && Engine::sees_some_raw_calls();
  if (!own || ((action.flags & kSaRestorer) != 0 && !is_seen(action.restorer))) {
    return reinterpret_cast<std::uint64_t>(&enclume_restorer);
  }
  return (action.flags & kSaRestorer) != 0 ? action.restorer : 0;
}

/// Writes the program's frame below `sp`; returns its address, or 0 if the stack can't hold it.
std::uint64_t write_frame(std::uint64_t sp, const SignalFrame& kernel_frame, const siginfo_t& info,
                          const AltStack& shown, SignalSet shown_mask, const ThreadBlock& block,
                          std::uint64_t restorer) {
  const std::uint32_t extended = extended_size(kernel_frame.uc);
  std::uint64_t fpstate = 0;
  if (extended != 0) {
    fpstate = align_down(sp - extended, 64);
    sp = fpstate;
  }
  // As if called: RSP + 8 is 16-byte aligned (Linux align_sigframe()).
  const std::uint64_t address = align_down(sp - sizeof(SignalFrame), 16) - 8;

  SignalFrame out;
  out.return_address = restorer;
  out.uc = kernel_frame.uc;
  out.uc.link = 0;
  out.uc.stack = shown;
  out.uc.sigmask = shown_mask;
  out.uc.mcontext.fpstate = reinterpret_cast<std::byte*>(fpstate);
  out.uc.mcontext.reserved[0] = kWaitMark | std::uint64_t{block.handed_mask} << 8 | block.waits_for;
  out.uc.mcontext.reserved[kOwnerWord] = reinterpret_cast<std::uint64_t>(&block);
  out.info = info;
  if (enclume_guarded_copy(reinterpret_cast<void*>(address), &out, sizeof(out)) != 0) {
    return 0;
  }
  if (extended != 0 && enclume_guarded_copy(reinterpret_cast<void*>(fpstate),
                                            kernel_frame.uc.mcontext.fpstate, extended) != 0) {
    return 0;
  }
  return address;
}

/// action_of() of a signal that is delivered now.
Action take_action(ThreadBlock& block, int signo) {
  const SignalSet self = signal_bit(signo);
  if (block.process == 0 || (block.child_handled & self) == 0) {
    return engine().actions.take(signo);
  }
  const Action action = action_of(block, signo);
  if ((action.flags & SA_RESETHAND) != 0) {
    block.child_handled &= ~self;
    block.child_default |= self;
  }
  return action;
}

}  // namespace

Action action_of(const ThreadBlock& block, int signo) {
  const SignalSet self = signal_bit(signo);
  if (block.process == 0 || !is_owned(signo)) {
    return engine().actions.get(signo);
  }
  if ((block.child_handled & self) != 0) {
    return block.child_actions[static_cast<std::size_t>(__builtin_ctz(pack_owned(self)))];
  }
  return (block.child_default & self) != 0   ? Action{}
         : (block.child_ignored & self) != 0 ? Action{1, 0, 0, 0}
                                             : engine().actions.get(signo);
}

void requeue(const siginfo_t& info) {
  const int tid = sys::gettid();
  if (sys::raw(__NR_rt_tgsigqueueinfo, sys::getpid(), tid, info.si_signo, sys::arg(&info)) < 0) {
    // The queue of real-time signals is full (RLIMIT_SIGPENDING): without the payload it still fits.
    sys::raw(__NR_tgkill, sys::getpid(), tid, info.si_signo);
  }
}

void end_by_default(const siginfo_t& info) {
  // Blocked until the handler has returned: it is the program's registers that belong into the core file.
  const SignalSet self = signal_bit(info.si_signo);
  sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&self), 0, sizeof(self));
  set_kernel_default(info.si_signo);
  requeue(info);
}

namespace {

/// For sigtimedwait(2), which the thread is about to call: blocked once the frame's code goes on.
void return_to_queue(UContext& uc, const siginfo_t& info) {
  const SignalSet self = signal_bit(info.si_signo);
  sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&self), 0, sizeof(self));
  requeue(info);
  uc.sigmask |= self;
}

}  // namespace

void deliver(ThreadBlock& block, SignalFrame& frame, const siginfo_t& info, Cause cause,
             SignalSet current_mask, bool announced) {
  const int signo = info.si_signo;
  const SignalSet self = signal_bit(signo);
  UContext& uc = frame.uc;
  const SignalSet virtual_mask = unpack_owned(block.virtual_mask);

  Action action = action_of(block, signo);
  // For a signal that was sent the kernel's mask has decided already; only the owned ones are ours to hold.
  const SignalSet in_force = cause == Cause::Fault ? uc.sigmask | virtual_mask : virtual_mask;
  const bool blocked = (in_force & self) != 0;
  if (cause == Cause::Sent && blocked) {
    if ((block.waits_for & pack_owned(self)) != 0) {
      return_to_queue(uc, info);
    } else {
      hold(block, info);
    }
    return;
  }
  if (is_announced(signo) && !announced && (cause == Cause::Fault || !action.is_ignored())) {
    announce(block, frame, info, cause);
    return;
  }
  if (cause == Cause::Fault && (blocked || !action.is_handler())) {
    end_by_default(info);
    uc.sigmask &= ~self;
    return;
  }
  if (!action.is_handler()) {
    if (action.is_default()) {
      end_by_default(info);
      uc.sigmask &= ~self;
    }
    return;
  }
  action = take_action(block, signo);

  std::uint64_t sp = uc.mcontext.rsp - kRedZone;
  AltStack shown = block.program_stack;
  const bool have_alt = (shown.flags & SS_DISABLE) == 0 && shown.size != 0;
  const bool already_on = have_alt && on_stack(shown, uc.mcontext.rsp);
  if ((action.flags & SA_ONSTACK) != 0 && have_alt && !already_on) {
    sp = shown.sp + shown.size;
  }
  if (already_on) {
    shown.flags |= SS_ONSTACK;
  }
  const std::uint64_t restorer = restorer_of(action);
  const SignalSet shown_mask =
      block.waits_with_mask ? block.mask_after_wait : (uc.sigmask & ~kOwnedSet) | virtual_mask;
  const std::uint64_t address =
      restorer == 0 ? 0 : write_frame(sp, frame, info, shown, shown_mask, block, restorer);
  if (address == 0) {
    // No room on the stack: the kernel forces SIGSEGV, and if that is what failed, the process ends.
    siginfo_t segv{};
    segv.si_signo = SIGSEGV;
    segv.si_code = SI_KERNEL;
    if (signo == SIGSEGV) {
      end_by_default(segv);
    } else {
      deliver(block, frame, segv, Cause::Fault, current_mask);
    }
    return;
  }
  block.frame_owner = {address, fs_base()};
  if (have_alt && !already_on && (static_cast<std::uint32_t>(shown.flags) & kAutodisarm) != 0) {
    block.program_stack = AltStack{};
  }

  block.waits_with_mask = false;
  block.waits_for = 0;
  block.handed_mask = 0;
  block.handlers_run.fetch_add(1);
  SignalSet handler_mask = (current_mask & ~kOwnedSet) | action.mask;
  if ((action.flags & SA_NODEFER) == 0) {
    handler_mask |= self;
  }
  block.virtual_mask = pack_owned(virtual_mask | handler_mask);
  uc.sigmask = handler_mask & ~kOwnedSet;

  SigContext& m = uc.mcontext;
  m.rip = action.handler;
  m.rsp = address;
  m.rdi = static_cast<std::uint64_t>(signo);
  m.rsi = address + offsetof(SignalFrame, info);
  m.rdx = address + offsetof(SignalFrame, uc);
  m.rax = 0;
  m.flags &= ~(arch::rflags::kDf | arch::rflags::kRf | arch::rflags::kTf);
  reset_extended_state(uc);
  if (block.stop_in_handler) [[unlikely]] {
    stop_in_handler(block, frame);
  }
}

namespace {

/// The thread whose handler returns by this frame. To ask the kernel costs a twentieth of the whole signal,
/// so the frame says it, in a word that the kernel leaves to chance; it is believed if the thread has written
/// this frame last, and has the same FS. (Threads may share that. But then not their stacks.)
ThreadBlock* owner_of(const SignalFrame& frame) {
  ThreadBlock* const said = engine().arena.of_stack(frame.uc.mcontext.reserved[kOwnerWord]);
  FrameOwner owner{};
  if (said != nullptr && enclume_guarded_copy(&owner, &said->frame_owner, sizeof(owner)) == 0 &&
      owner.frame == reinterpret_cast<std::uint64_t>(&frame) && owner.fs == fs_base()) {
    return said;
  }
  return engine().this_thread();
}

}  // namespace

/// The way back from a program's handler: its frame holds the program's view, the kernel gets its own.
extern "C" void enclume_before_sigreturn(SignalFrame* frame) {
  Engine& e = engine();
  e.sync_after_fork();
  UContext& uc = frame->uc;
  const SignalSet owned = uc.sigmask & kOwnedSet;
  uc.sigmask &= ~kOwnedSet;
  // The handler may have blocked one in its frame: that takes a block to note it in.
  ThreadBlock* block = owner_of(*frame);
  if (block == nullptr && owned != 0) {
    block = e.register_thread();
  } else if (block == nullptr) {
    // A signal that made the thread known now would have that undone by this frame's alternate stack.
    const SignalSet all = ~SignalSet{0};
    sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&all), 0, sizeof(all));
    block = e.this_thread();
  }
  if (block != nullptr) {
    block->virtual_mask = pack_owned(owned);
    // As restore_altstack() would: on the stack itself it can't be changed.
    AltStack restored = uc.stack;
    restored.flags &= ~SS_ONSTACK;
    if ((block->program_stack.flags & SS_DISABLE) != 0 || !on_stack(block->program_stack, uc.mcontext.rsp)) {
      block->program_stack = restored;
    }
    uc.stack = e.signal_stack(*block);
    const std::uint64_t word = uc.mcontext.reserved[0];
    const std::uint64_t mark = (word & kWaitMarkBits) == kWaitMark ? word : 0;
    block->waits_for = static_cast<std::uint8_t>(mark);
    block->handed_mask = static_cast<std::uint8_t>(mark >> 8);
    uc.sigmask |= unpack_owned(block->handed_mask);
    if (anything_to_release(*block) || (held_pending(block) & unpack_owned(block->waits_for)) != 0) {
      // All together, when rt_sigreturn unblocks them.
      const SignalSet all = ~SignalSet{0};
      sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&all), 0, sizeof(all));
      release_held(*block);
      siginfo_t info;
      while (take_held(block, unpack_owned(block->waits_for), info)) {
        return_to_queue(uc, info);
      }
    }
  }
}

}  // namespace enclume::engine
