// SPDX-License-Identifier: Apache-2.0
// Signal dispositions, masks and stacks as the program asks for them. See signals/ for what becomes of them.
#include <signal.h>

#include <cstring>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/front/handed_mask.h"
#include "engine/front/real.h"
#include "engine/front/signals.h"
#include "engine/signals/alternate_stack.h"
#include "engine/signals/held.h"
#include "engine/signals/mask.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

namespace {

struct sigaction to_libc(const Action& action) {
  struct sigaction out;
  std::memset(&out, 0, sizeof(out));
  out.sa_handler = reinterpret_cast<sighandler_t>(action.handler);
  out.sa_flags = static_cast<int>(action.flags);
  from_set(action.mask, out.sa_mask);
  return out;
}

Action from_libc(const struct sigaction& action) {
  return {reinterpret_cast<std::uint64_t>(action.sa_handler), static_cast<std::uint32_t>(action.sa_flags), 0,
          to_set(action.sa_mask)};
}

constexpr bool reserved_by_libc(int signo) {
  return signo == 32 || signo == 33;
}

sighandler_t simple_signal(int signo, sighandler_t handler, int flags) {
  if (handler == SIG_ERR || reserved_by_libc(signo)) {
    errno = EINVAL;
    return SIG_ERR;
  }
  Action next{reinterpret_cast<std::uint64_t>(handler), static_cast<std::uint64_t>(flags), 0, 0};
  if ((flags & SA_NODEFER) == 0 && signo >= 1 && signo <= 64) {
    next.mask = signal_bit(signo);
  }
  Action previous;
  if (libc_result(front_sigaction(signo, &next, &previous)) < 0) {
    return SIG_ERR;
  }
  return reinterpret_cast<sighandler_t>(previous.handler);
}

/// sigprocmask(2) on a mask; fails for an unknown `how`.
SysResult<SignalSet> changed(SignalSet mask, int how, SignalSet set) {
  switch (how) {
    case SIG_BLOCK:
      return mask | set;
    case SIG_UNBLOCK:
      return mask & ~set;
    case SIG_SETMASK:
      return set;
    default:
      return fail(Errno::Invalid);
  }
}

/// The block's mask is the parent's. So the kernel has the child's, whole, once that has changed it: until it
/// executes a program nobody enters an enclave.
SysResult<SignalSet> change_mask_in_vfork_child(int how, const SignalSet* set) {
  ThreadBlock* block = engine().this_thread();
  const int tid = sys::gettid();
  SignalSet before = kernel_mask();
  if (block != nullptr && block->vfork_child != tid) {
    before |= unpack_owned(block->virtual_mask);
  }
  if (set != nullptr) {
    const auto mask = changed(before, how, *set);
    if (!mask) {
      return fail(mask.error());
    }
    set_kernel_mask(*mask);
    if (block != nullptr) {
      block->vfork_child = tid;
    }
  }
  return before;
}

}  // namespace

SysResult<void> front_sigprocmask(int how, const SignalSet* set, SignalSet* previous) {
  Engine& e = engine();
  e.sync_after_fork();
  if (e.in_vfork_child()) {
    const auto before = change_mask_in_vfork_child(how, set);
    if (before && previous != nullptr) {
      *previous = *before;
    }
    return before ? SysResult<void>{} : fail(before.error());
  }
  ThreadBlock* block = e.this_thread();
  const SignalSet owned_before = block != nullptr ? unpack_owned(block->virtual_mask) : 0;
  SignalSet owned = owned_before;
  if (set != nullptr) {
    const auto mask = changed(owned_before, how, *set);
    if (!mask) {
      return fail(mask.error());
    }
    owned = *mask & kOwnedSet;
  }
  SignalSet kernel_before = 0;
  if (owned != owned_before) {
    if (block == nullptr && (block = e.register_thread()) == nullptr) {
      return fail(Errno::NoMemory);  // Linux has no such limit
    }
    // Both parts at once, as it seems to a handler.
    const SignalSet all = ~SignalSet{0};
    sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&all), sys::arg(&kernel_before), sizeof(all));
    block->virtual_mask = pack_owned(owned);
    if (anything_to_release(*block)) {
      release_held(*block);
    }
    set_kernel_mask(*changed(kernel_before, how, *set) & ~kOwnedSet);
  } else {
    const SignalSet kernel_part = set != nullptr ? *set & ~kOwnedSet : 0;
    if (const auto r = sys::call(__NR_rt_sigprocmask, how, set != nullptr ? &kernel_part : nullptr,
                                 &kernel_before, sizeof(SignalSet));
        !r) {
      return fail(r.error());
    }
  }
  if (previous != nullptr) {
    *previous = (kernel_before & ~kOwnedSet) | owned_before;
  }
  return {};
}

SignalSet virtual_mask_of_thread() {
  Engine& e = engine();
  if (!e.active) {
    return 0;
  }
  e.sync_after_fork();
  const ThreadBlock* block = e.in_vfork_child() ? nullptr : e.this_thread();
  return block != nullptr ? unpack_owned(block->virtual_mask) : 0;
}

SysResult<void> front_sigaltstack(const AltStack* next, AltStack* previous) {
  Engine& e = engine();
  e.sync_after_fork();
  ThreadBlock* block = e.this_thread();
  if (block != nullptr && next != nullptr && e.in_vfork_child()) {
    // Ours goes: the child does not need it, and what we know is its parent's.
    if (previous != nullptr) {
      *previous = block->program_stack;
    }
    if (block->vfork_child != sys::gettid()) {
      const SignalSet owned = unpack_owned(block->virtual_mask);
      sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&owned), 0, sizeof(owned));
    }
    const auto r = sys::call(__NR_sigaltstack, next, 0);
    return r ? SysResult<void>{} : fail(r.error());
  }
  if (block == nullptr) {
    // The kernel's is the program's until the thread needs ours.
    const auto r = sys::call(__NR_sigaltstack, next, previous);
    return r ? SysResult<void>{} : fail(r.error());
  }
  const auto sp = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
  return change_alternate_stack(*block, next, previous, sp);
}

bool on_alternate_stack() {
  AltStack now;
  return front_sigaltstack(nullptr, &now).has_value() && (now.flags & SS_ONSTACK) != 0;
}

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's
namespace sys = enclume::sys;

ENCLUME_EXPORT int sigaction(int signo, const struct sigaction* next, struct sigaction* previous) noexcept {
  if (!engine().active || reserved_by_libc(signo)) {
    static Real<int(int, const struct sigaction*, struct sigaction*)> real{"sigaction"};
    return real(signo, next, previous);
  }
  Action wanted;
  Action before;
  if (next != nullptr) {
    wanted = from_libc(*next);
  }
  const int r = libc_result(front_sigaction(signo, next != nullptr ? &wanted : nullptr, &before));
  if (r == 0 && previous != nullptr) {
    *previous = to_libc(before);
  }
  return r;
}
ENCLUME_EXPORT int __sigaction(int signo, const struct sigaction* next, struct sigaction* previous) noexcept {
  return sigaction(signo, next, previous);
}
ENCLUME_EXPORT sighandler_t signal(int signo, sighandler_t handler) noexcept {
  return simple_signal(signo, handler, SA_RESTART);
}
ENCLUME_EXPORT sighandler_t bsd_signal(int signo, sighandler_t handler) noexcept {
  return simple_signal(signo, handler, SA_RESTART);
}
ENCLUME_EXPORT sighandler_t ssignal(int signo, sighandler_t handler) noexcept {
  return simple_signal(signo, handler, SA_RESTART);
}
ENCLUME_EXPORT sighandler_t sysv_signal(int signo, sighandler_t handler) noexcept {
  return simple_signal(signo, handler, static_cast<int>(SA_RESETHAND) | SA_NODEFER);
}
ENCLUME_EXPORT sighandler_t __sysv_signal(int signo, sighandler_t handler) noexcept {
  return simple_signal(signo, handler, static_cast<int>(SA_RESETHAND) | SA_NODEFER);
}
ENCLUME_EXPORT int siginterrupt(int signo, int interrupt) noexcept {
  if (reserved_by_libc(signo)) {
    errno = EINVAL;
    return -1;
  }
  Action action;
  if (libc_result(front_sigaction(signo, nullptr, &action)) < 0) {
    return -1;
  }
  const auto restart = static_cast<std::uint64_t>(SA_RESTART);
  action.flags = interrupt != 0 ? action.flags & ~restart : action.flags | restart;
  return libc_result(front_sigaction(signo, &action, nullptr));
}

ENCLUME_EXPORT int sigprocmask(int how, const sigset_t* set, sigset_t* previous) noexcept {
  if (!engine().active) {
    static Real<int(int, const sigset_t*, sigset_t*)> real{"sigprocmask"};
    return real(how, set, previous);
  }
  // glibc never lets a program block its two internal signals.
  SignalSet wanted = set != nullptr ? to_set(*set) & ~(signal_bit(32) | signal_bit(33)) : 0;
  SignalSet before = 0;
  const int r = libc_result(front_sigprocmask(how, set != nullptr ? &wanted : nullptr, &before));
  if (r == 0 && previous != nullptr) {
    from_set(before, *previous);
  }
  return r;
}
ENCLUME_EXPORT int pthread_sigmask(int how, const sigset_t* set, sigset_t* previous) noexcept {
  const int saved = errno;
  const int r = sigprocmask(how, set, previous) == 0 ? 0 : errno;
  errno = saved;
  return r;
}
ENCLUME_EXPORT int sigaltstack(const stack_t* next, stack_t* previous) noexcept {
  static_assert(sizeof(stack_t) == sizeof(AltStack));
  if (!engine().active) {
    static Real<int(const stack_t*, stack_t*)> real{"sigaltstack"};
    return real(next, previous);
  }
  return libc_result(
      front_sigaltstack(reinterpret_cast<const AltStack*>(next), reinterpret_cast<AltStack*>(previous)));
}
