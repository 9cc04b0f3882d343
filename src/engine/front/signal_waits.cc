// SPDX-License-Identifier: Apache-2.0
// Calls that wait for signals, or wait with a signal mask of their own. A thread in one of them is in no
// enclave, so while it waits the kernel may have the owned signals blocked, and does with them as with all
// others.
#include "engine/front/signal_waits.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

#include <atomic>
#include <cerrno>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/front/real.h"
#include "engine/front/signals.h"
#include "engine/sgx.h"
#include "engine/signals/held.h"
#include "engine/signals/mask.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

namespace {

SignalSet block_all() {
  const SignalSet all = ~SignalSet{0};
  SignalSet before = 0;
  sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&all), sys::arg(&before), sizeof(all));
  return before;
}

/// What is ignored must not end a wait, as the engine's handler would.
SignalSet ignored_owned() {
  SignalSet set = 0;
  for (const int signo : kOwnedSignals) {
    if (engine().actions.get(signo).is_ignored()) {
      set |= signal_bit(signo);
    }
  }
  return set;
}

/// After a wait with a mask, or when the thread is cancelled in it. If a handler of the program ran, its
/// return has put the mask from before back (deliver()); if not, all is blocked as it was when the wait
/// began.
void end_wait(void* raw) {
  auto& block = *static_cast<ThreadBlock*>(raw);
  if (!block.waits_with_mask.load()) {
    return;
  }
  const int error = errno;
  block_all();
  const SignalSet after = block.mask_after_wait;
  block.waits_with_mask = false;
  block.virtual_mask = pack_owned(after);
  if (anything_to_release(block)) {
    release_held(block);
  }
  set_kernel_mask(after & ~kOwnedSet);
  errno = error;
}

/// Begins a wait with a mask: the thread's block, and in `during` the mask for the kernel. Null if owned
/// signals don't come into it.
ThreadBlock* begin_wait(const void* mask, SignalSet& during) {
  Engine& e = engine();
  SignalSet wanted = 0;
  if (mask == nullptr || !e.active || enclume_guarded_copy(&wanted, mask, sizeof(wanted)) != 0) {
    return nullptr;
  }
  e.sync_after_fork();
  ThreadBlock* block = e.this_thread();
  const bool owned_concerned = (wanted & kOwnedSet) != 0 || (block != nullptr && block->virtual_mask != 0);
  if (!owned_concerned || e.in_vfork_child() || (block = e.current_thread()) == nullptr) {
    return nullptr;
  }
  // Until the kernel takes the mask over nothing may come: a handler that returned before would take the wait
  // for ended.
  const SignalSet before = block_all();
  block->mask_after_wait = (before & ~kOwnedSet) | unpack_owned(block->virtual_mask);
  block->virtual_mask = pack_owned(wanted);
  block->waits_with_mask = true;
  if (anything_to_release(*block)) {
    release_held(*block);  // pending in the kernel from now on, so that the wait ends at once
  }
  during = wanted | ignored_owned();
  return block;
}

/// Waits by `call`, a function of libc that gives the kernel the mask that it gets.
template <typename Call>
int wait_with_mask(const sigset_t* mask, Call&& call) {
  SignalSet set = 0;
  ThreadBlock* block = begin_wait(mask, set);
  if (block == nullptr) {
    return call(mask);
  }
  sigset_t during;
  from_set(set, during);
  int result;
  pthread_cleanup_push(&end_wait, block);
  result = call(&during);
  pthread_cleanup_pop(1);
  return result;
}

/// After the wait, or when the thread is cancelled in it.
void stop_waiting_for(void* raw) {
  const int error = errno;
  static_cast<ThreadBlock*>(raw)->waits_for = 0;
  sys::raw(__NR_rt_sigprocmask, SIG_UNBLOCK, sys::arg(&kOwnedSet), 0, sizeof(kOwnedSet));
  errno = error;
}

/// sigtimedwait() for a set with owned signals in it; `call` waits in the kernel.
template <typename Call>
int wait_for(SignalSet wanted, siginfo_t& info, Call&& call) {
  Engine& e = engine();
  e.sync_after_fork();
  ThreadBlock* block = e.in_vfork_child() ? nullptr : e.current_thread();
  if (block == nullptr) {
    return call(&info);
  }
  for (;;) {
    // From here on one that comes to another thread is sent here, and one that comes here before the kernel
    // waits goes back to the kernel's queue (deliver() sees to both).
    block->waits_for = pack_owned(wanted);
    const std::uint32_t handlers = block->handlers_run;
    bool held;
    {
      const AllBlocked blocked;
      held = take_held(block, wanted, info);
    }
    int result = info.si_signo;
    pthread_cleanup_push(&stop_waiting_for, block);
    if (!held) {
      result = call(&info);
    }
    pthread_cleanup_pop(1);
    if (result < 0 && errno == EINTR && block->handlers_run == handlers) {
      continue;  // by a signal that the program blocks or ignores
    }
    if (result > 0 && is_kick(result, info)) {
      continue;  // the engine's own, for an enclave that the thread has left by itself
    }
    return result;
  }
}

timespec now() {
  timespec time{};
  sys::raw(__NR_clock_gettime, CLOCK_MONOTONIC, sys::arg(&time));
  return time;
}

constexpr long kSecond = 1'000'000'000;

/// What is left of a timeout that ends at `end`.
timespec left_until(const timespec& end) {
  const timespec time = now();
  timespec left{end.tv_sec - time.tv_sec, end.tv_nsec - time.tv_nsec};
  if (left.tv_nsec < 0) {
    left.tv_nsec += kSecond;
    --left.tv_sec;
  }
  return left.tv_sec < 0 ? timespec{} : left;
}

/// Hands what a wait has got to the program's memory.
template <typename Call>
SysResult<long> timed_wait(SignalSet wanted, siginfo_t* to, const timespec* timeout, Call&& call) {
  timespec end{};
  if (timeout != nullptr) {
    if (enclume_guarded_copy(&end, timeout, sizeof(end)) != 0) {
      return fail(Errno::Fault);
    }
    if (end.tv_nsec < 0 || end.tv_nsec >= kSecond || end.tv_sec < 0) {
      return fail(Errno::Invalid);
    }
    const timespec time = now();
    end.tv_nsec += time.tv_nsec;
    if (__builtin_add_overflow(end.tv_sec, time.tv_sec + end.tv_nsec / kSecond, &end.tv_sec)) {
      timeout = nullptr;
    }
    end.tv_nsec %= kSecond;
  }
  siginfo_t info;
  const int result = wait_for(wanted, info, [&](siginfo_t* taken) {
    const timespec left = left_until(end);
    return call(taken, timeout != nullptr ? &left : nullptr);
  });
  if (result < 0) {
    return fail(static_cast<Errno>(errno));
  }
  if (to != nullptr && enclume_guarded_copy(to, &info, sizeof(info)) != 0) {
    return fail(Errno::Fault);
  }
  return result;
}

Real<int(const sigset_t*, siginfo_t*, const timespec*)> real_sigtimedwait{"sigtimedwait"};

int libc_timed_wait(const sigset_t* set, siginfo_t* info, const timespec* timeout) {
  SignalSet wanted = 0;
  if (!engine().active || enclume_guarded_copy(&wanted, set, sizeof(wanted)) != 0 ||
      (wanted & kOwnedSet) == 0) {
    return real_sigtimedwait(set, info, timeout);
  }
  const auto result = timed_wait(wanted, info, timeout, [&](siginfo_t* taken, const timespec* left) {
    return real_sigtimedwait(set, taken, left);
  });
  if (result && info != nullptr && info->si_code == SI_TKILL) {
    info->si_code = SI_USER;  // libc tells no tgkill() from a kill()
  }
  return static_cast<int>(libc_result(result));
}

}  // namespace

std::optional<SysResult<long>> front_wait(long number, const long (&arguments)[6]) {
  long a[6] = {arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]};
  struct {
    const void* mask;
    std::uint64_t size;
  } pselect_mask{};
  SignalSet during = 0;
  const void* mask = nullptr;
  std::uint64_t size = 0;
  switch (number) {
    case __NR_rt_sigsuspend:
      mask = reinterpret_cast<const void*>(a[0]);
      size = static_cast<std::uint64_t>(a[1]);
      a[0] = sys::arg(&during);
      break;
    case __NR_ppoll:
      mask = reinterpret_cast<const void*>(a[3]);
      size = static_cast<std::uint64_t>(a[4]);
      a[3] = sys::arg(&during);
      break;
    case __NR_epoll_pwait:
    case __NR_epoll_pwait2:
      mask = reinterpret_cast<const void*>(a[4]);
      size = static_cast<std::uint64_t>(a[5]);
      a[4] = sys::arg(&during);
      break;
    case __NR_pselect6:
      if (a[5] == 0 || enclume_guarded_copy(&pselect_mask, reinterpret_cast<const void*>(a[5]),
                                            sizeof(pselect_mask)) != 0) {
        return std::nullopt;
      }
      mask = pselect_mask.mask;
      size = pselect_mask.size;
      pselect_mask.mask = &during;
      a[5] = sys::arg(&pselect_mask);
      break;
    default:
      return std::nullopt;
  }
  ThreadBlock* block = size == sizeof(during) ? begin_wait(mask, during) : nullptr;
  if (block == nullptr) {
    return std::nullopt;
  }
  const long result = sys::raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  end_wait(block);
  return from_raw(result);
}

SysResult<SignalSet> front_sigpending() {
  Engine& e = engine();
  e.sync_after_fork();
  SignalSet pending = 0;
  if (const auto r = sys::call(__NR_rt_sigpending, &pending, sizeof(pending)); !r) {
    return fail(r.error());
  }
  return e.in_vfork_child() ? pending : pending | held_pending(e.this_thread());
}

SysResult<long> front_sigtimedwait(const SignalSet& wanted, siginfo_t* info, const timespec* timeout) {
  if ((wanted & kOwnedSet) == 0) {
    return sys::call(__NR_rt_sigtimedwait, &wanted, info, timeout, sizeof(wanted));
  }
  return timed_wait(wanted, info, timeout, [&](siginfo_t* taken, const timespec* left) {
    return static_cast<int>(
        libc_result(sys::call(__NR_rt_sigtimedwait, &wanted, taken, left, sizeof(wanted))));
  });
}

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's

ENCLUME_EXPORT int sigpending(sigset_t* set) noexcept {
  if (!engine().active) {
    static Real<int(sigset_t*)> real{"sigpending"};
    return real(set);
  }
  const auto pending = front_sigpending();
  if (!pending) {
    errno = static_cast<int>(pending.error());
    return -1;
  }
  from_set(*pending, *set);
  return 0;
}

ENCLUME_EXPORT int sigtimedwait(const sigset_t* set, siginfo_t* info, const struct timespec* timeout) {
  return libc_timed_wait(set, info, timeout);
}
ENCLUME_EXPORT int sigwaitinfo(const sigset_t* set, siginfo_t* info) {
  return libc_timed_wait(set, info, nullptr);
}
ENCLUME_EXPORT int sigwait(const sigset_t* set, int* signo) {
  const int saved = errno;
  int result;
  do {
    result = libc_timed_wait(set, nullptr, nullptr);
  } while (result < 0 && errno == EINTR);
  const int error = errno;
  errno = saved;
  if (result < 0) {
    return error;
  }
  *signo = result;
  return 0;
}

ENCLUME_EXPORT int sigsuspend(const sigset_t* mask) {
  static Real<int(const sigset_t*)> real{"sigsuspend"};
  return wait_with_mask(mask, [&](const sigset_t* during) { return real(during); });
}
ENCLUME_EXPORT int __sigsuspend(const sigset_t* mask) {
  return sigsuspend(mask);
}
ENCLUME_EXPORT int ppoll(struct pollfd* fds, nfds_t count, const struct timespec* timeout,
                         const sigset_t* mask) {
  static Real<int(struct pollfd*, nfds_t, const struct timespec*, const sigset_t*)> real{"ppoll"};
  return wait_with_mask(mask, [&](const sigset_t* during) { return real(fds, count, timeout, during); });
}
/// ppoll() under _FORTIFY_SOURCE.
ENCLUME_EXPORT int __ppoll_chk(struct pollfd* fds, nfds_t count, const struct timespec* timeout,
                               const sigset_t* mask, std::size_t size) {
  static Real<int(struct pollfd*, nfds_t, const struct timespec*, const sigset_t*, std::size_t)> real{
      "__ppoll_chk"};
  return wait_with_mask(mask,
                        [&](const sigset_t* during) { return real(fds, count, timeout, during, size); });
}
ENCLUME_EXPORT int pselect(int count, fd_set* read, fd_set* write, fd_set* except,
                           const struct timespec* timeout, const sigset_t* mask) {
  static Real<int(int, fd_set*, fd_set*, fd_set*, const struct timespec*, const sigset_t*)> real{"pselect"};
  return wait_with_mask(
      mask, [&](const sigset_t* during) { return real(count, read, write, except, timeout, during); });
}
ENCLUME_EXPORT int epoll_pwait(int fd, struct epoll_event* events, int count, int timeout,
                               const sigset_t* mask) {
  static Real<int(int, struct epoll_event*, int, int, const sigset_t*)> real{"epoll_pwait"};
  return wait_with_mask(mask,
                        [&](const sigset_t* during) { return real(fd, events, count, timeout, during); });
}
ENCLUME_EXPORT int epoll_pwait2(int fd, struct epoll_event* events, int count, const struct timespec* timeout,
                                const sigset_t* mask) {
  static Real<int(int, struct epoll_event*, int, const struct timespec*, const sigset_t*)> real{
      "epoll_pwait2"};
  return wait_with_mask(mask,
                        [&](const sigset_t* during) { return real(fd, events, count, timeout, during); });
}
