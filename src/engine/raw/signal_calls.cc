// SPDX-License-Identifier: Apache-2.0
#include "engine/raw/signal_calls.h"

#include <asm/unistd.h>

#include <cerrno>
#include <cstring>

#include "base/syscall.h"
#include "engine/calls/signals.h"
#include "engine/calls/user_memory.h"
#include "engine/engine.h"
#include "engine/raw/execute.h"
#include "engine/signals/alternate_stack.h"
#include "engine/signals/delivery.h"
#include "engine/signals/held.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

namespace {

constexpr std::uint64_t kSaExposeTagbits = 0x800;

/// Linux UAPI_SA_FLAGS and x86's own: the kernel clears all others, so that programs can probe for them.
constexpr std::uint64_t kKnownFlags =
    std::uint64_t{SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO} | std::uint64_t{SA_ONSTACK} | SA_RESTART |
    SA_NODEFER | std::uint64_t{static_cast<unsigned>(SA_RESETHAND)} | kSaExposeTagbits | kSaRestorer;

constexpr SignalSet kUncatchable = signal_bit(SIGKILL) | signal_bit(SIGSTOP);

/// In a child that shares the memory between vfork and exec: its handlers are the kernel's business, but for
/// the owned signals, which the engine needs until the end. Of these it is noted here what the child has
/// asked for.
SysResult<void> change_in_child(ThreadBlock& block, int signo, const Action* next, Action& previous) {
  ActionTable& actions = engine().actions;
  if (!is_owned(signo)) {
    return actions.change_in_vfork_child(signo, next, &previous);
  }
  const SignalSet self = signal_bit(signo);
  previous = action_of(block, signo);
  if (next != nullptr) {
    block.child_default &= ~self;
    block.child_ignored &= ~self;
    block.child_handled &= ~self;
    if (next->is_handler()) {
      Action& own = block.child_actions[static_cast<std::size_t>(__builtin_ctz(pack_owned(self)))];
      own = *next;
      own.mask &= ~kUncatchable;
      block.child_handled |= self;
    } else {
      (next->is_default() ? block.child_default : block.child_ignored) |= self;
    }
  }
  return {};
}

}  // namespace

SysResult<long> raw_sigaction(ThreadBlock* block, const Call& call) {
  if (call.argument[3] != sizeof(SignalSet)) {
    return fail(Errno::Invalid);
  }
  const bool sets = call.argument[1] != 0;
  Action next;
  if (sets && !read_user(next, call.argument[1])) {
    return fail(Errno::Fault);
  }
  next.flags = (next.flags & kKnownFlags) | kSetWithoutLibc;
  Action previous;
  const bool in_child = block != nullptr && block->process != 0;
  if (const auto r = in_child ? change_in_child(*block, call.as_int(0), sets ? &next : nullptr, previous)
                              : front_sigaction(call.as_int(0), sets ? &next : nullptr, &previous);
      !r) {
    return fail(r.error());
  }
  if (call.argument[2] != 0) {
    if ((previous.flags & kSetWithoutLibc) == 0 && previous.is_handler()) {
      // libc's: it has a restorer of its own.
      previous.flags |= kSaRestorer;
      previous.restorer = reinterpret_cast<std::uint64_t>(&enclume_restorer);
    }
    previous.flags &= ~kSetWithoutLibc;
    if (!write_user(call.argument[2], previous)) {
      return fail(Errno::Fault);
    }
  }
  return 0L;
}

SysResult<long> raw_sigprocmask(Interruption& it, const Call& call) {
  if (call.argument[3] != sizeof(SignalSet)) {
    return fail(Errno::Invalid);
  }
  const SignalSet before = (it.uc.sigmask & ~kOwnedSet) | unpack_owned(it.block.virtual_mask);
  if (call.argument[1] != 0) {
    SignalSet set;
    if (!read_user(set, call.argument[1])) {
      return fail(Errno::Fault);
    }
    set &= ~kUncatchable;
    SignalSet after;
    switch (call.as_int(0)) {
      case SIG_BLOCK:
        after = before | set;
        break;
      case SIG_UNBLOCK:
        after = before & ~set;
        break;
      case SIG_SETMASK:
        after = set;
        break;
      default:
        return fail(Errno::Invalid);
    }
    it.uc.sigmask = after & ~kOwnedSet;
    it.block.virtual_mask = pack_owned(after);
    if (anything_to_release(it.block)) {
      const AllBlocked blocked;
      release_held(it.block);
    }
  }
  if (call.argument[2] != 0 && !write_user(call.argument[2], before)) {
    return fail(Errno::Fault);
  }
  return 0L;
}

SysResult<long> raw_sigaltstack(Interruption& it, const Call& call) {
  const bool sets = call.argument[0] != 0;
  AltStack next;
  if (sets && !read_user(next, call.argument[0])) {
    return fail(Errno::Fault);
  }
  AltStack previous;
  if (const auto r = change_alternate_stack(it.block, sets ? &next : nullptr, &previous, it.uc.mcontext.rsp);
      !r) {
    return fail(r.error());
  }
  if (call.argument[1] != 0 && !write_user(call.argument[1], previous)) {
    return fail(Errno::Fault);
  }
  return 0L;
}

bool raw_sigreturn(Interruption& it) {
  SigContext& m = it.uc.mcontext;
  const std::uint64_t frame = m.rsp - sizeof(SignalFrame::return_address);
  const std::uint64_t uc = frame + offsetof(SignalFrame, uc);
  SignalFrame copy;
  if (!read_user(copy.uc, uc)) {
    return false;
  }
  enclume_before_sigreturn(&copy);
  if (!write_user(uc + offsetof(UContext, stack), copy.uc.stack) ||
      !write_user(uc + offsetof(UContext, sigmask), copy.uc.sigmask)) {
    return false;
  }
  // RSP is where the kernel expects it; all other registers are about to be the frame's.
  m.rax = __NR_rt_sigreturn;
  m.rip = reinterpret_cast<std::uint64_t>(enclume_system_call);
  return true;
}

SysResult<long> raw_sigpending(Interruption& it, const Call& call) {
  SignalSet pending = 0;
  const std::uint64_t size = call.argument[1];
  if (size > sizeof(pending)) {
    return fail(Errno::Invalid);
  }
  sys::raw(__NR_rt_sigpending, sys::arg(&pending), sizeof(pending));
  pending |= held_pending(&it.block);
  return enclume_guarded_copy(call.as_pointer<void>(0), &pending, size) == 0 ? SysResult<long>(0L)
                                                                             : fail(Errno::Fault);
}

namespace {

/// Whether what has interrupted a wait is anything to the program: a handler of its that runs now, or its
/// end. What it blocks or ignores is not.
bool concerns_program(const ThreadBlock& block) {
  const std::uint32_t deferred = block.deferred.load(std::memory_order_relaxed);
  for (std::size_t n = 0; n < kDeferredSlots; ++n) {
    if ((deferred & kDeferredSignal << n) != 0) {
      const int signo = block.deferred_signals[n].si_signo;
      const bool blocked = (unpack_owned(block.virtual_mask) & signal_bit(signo)) != 0;
      if (!blocked && !action_of(block, signo).is_ignored()) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

bool raw_sigtimedwait(Interruption& it, Call call, siginfo_t& report) {
  SigContext& m = it.uc.mcontext;
  const std::uint64_t out = call.argument[1];
  const auto finish = [&](const SysResult<long>& result) {
    m.rax = static_cast<std::uint64_t>(result ? *result : negative(result.error()));
    return true;
  };
  const auto hand_over = [&](const siginfo_t& info) {
    return out != 0 && !write_user(out, info) ? finish(fail(Errno::Fault))
                                              : finish(static_cast<long>(info.si_signo));
  };
  SignalSet wanted;
  if (call.argument[3] != sizeof(wanted) || !read_user(wanted, call.argument[0]) ||
      (wanted & kOwnedSet) == 0) {
    return execute(it, call, report);
  }
  siginfo_t info{};
  // From here on one that comes to another thread is sent here. One that comes before the kernel waits has
  // the call made once more, and is found here then.
  it.block.waits_for = pack_owned(wanted);
  bool held;
  {
    const AllBlocked blocked;
    held = take_held(&it.block, wanted, info);
  }
  if (held) {
    it.block.waits_for = 0;
    return hand_over(info);
  }
  call.argument[1] = reinterpret_cast<std::uint64_t>(&info);
  const std::uint64_t rip = m.rip;
  const bool settled = execute(it, call, report);
  it.block.waits_for = 0;
  if (!settled || m.rip != rip) {
    return settled;
  }
  const auto result = static_cast<long>(m.rax);
  if (result > 0 && !is_kick(static_cast<int>(result), info)) {
    return hand_over(info);
  }
  // The engine's own, for an enclave that the thread has left by itself; or nothing that the program sees.
  // Without a signal it is the kernel's word: a process that was stopped and goes on gets EINTR.
  const bool signalled = it.block.deferred.load(std::memory_order_relaxed) != 0;
  if (result > 0 || (result == -EINTR && signalled && !concerns_program(it.block))) {
    make_again(m, call.number);
  }
  return true;
}

bool begin_wait(ThreadBlock& block, const UContext& uc, SignalSet mask) {
  block.mask_after_wait = (uc.sigmask & ~kOwnedSet) | unpack_owned(block.virtual_mask);
  block.virtual_mask = pack_owned(mask);
  if (!anything_to_release(block)) {
    return true;
  }
  const AllBlocked blocked;
  release_held(block);
  return false;
}

void end_wait(ThreadBlock& block, SignalSet mask, bool interrupted) {
  if (interrupted && (block.deferred.load(std::memory_order_relaxed) & ~kDeferredKick) != 0) {
    // Whatever has ended it came while that mask was in force, and its handler begins with it.
    block.waits_with_mask = true;
    block.waiting_mask = mask & ~kOwnedSet;
    block.waited = true;
  } else {
    block.virtual_mask = pack_owned(block.mask_after_wait);
  }
}

void end_wait_without_handler(ThreadBlock& block) {
  if (block.waits_with_mask) {
    block.waits_with_mask = false;
    block.virtual_mask = pack_owned(block.mask_after_wait);
  }
}

TemporaryMask::TemporaryMask(Call& call) {
  switch (call.number) {
    case __NR_rt_sigsuspend:
      if (call.argument[1] == sizeof(SignalSet)) {
        replace(call.argument[0]);
      }
      break;
    case __NR_ppoll:
      if (call.argument[4] == sizeof(SignalSet)) {
        replace(call.argument[3]);
      }
      break;
    case __NR_epoll_pwait:
    case __NR_epoll_pwait2:
      if (call.argument[5] == sizeof(SignalSet)) {
        replace(call.argument[4]);
      }
      break;
    case __NR_pselect6:
    case __NR_io_pgetevents:
      if (call.argument[5] != 0 && read_user(packed_, call.argument[5]) &&
          packed_.size == sizeof(SignalSet)) {
        replace(packed_.mask);
        if (present_) {
          call.argument[5] = reinterpret_cast<std::uint64_t>(&packed_);
        }
      }
      break;
    default:
      break;
  }
}

void TemporaryMask::replace(std::uint64_t& pointer) {
  if (pointer != 0 && read_user(mask_, pointer)) {
    present_ = true;
    without_owned_ = mask_ & ~kOwnedSet;
    pointer = reinterpret_cast<std::uint64_t>(&without_owned_);
  }
}

}  // namespace enclume::engine
