// SPDX-License-Identifier: Apache-2.0
// The signal interfaces of System V and of BSD. libc has them on top of its own sigaction() and
// sigprocmask(), by calls that do not come by our doors.
#include <signal.h>

#include <cerrno>

#include "engine/engine.h"
#include "engine/front/real.h"
#include "engine/front/signals.h"

namespace enclume::engine {

namespace {

/// A set of one; false, with EINVAL, for a number that is no signal.
bool set_of(int signo, sigset_t& set) {
  sigemptyset(&set);
  return sigaddset(&set, signo) == 0;
}

int change_one(int how, int signo) {
  sigset_t set;
  return set_of(signo, set) ? sigprocmask(how, &set, nullptr) : -1;
}

/// BSD's masks are the first 32 bits of a set.
int change_bsd_mask(int how, int mask) {
  sigset_t set;
  sigset_t old;
  from_set(static_cast<unsigned>(mask), set);
  return sigprocmask(how, &set, &old) == 0 ? static_cast<int>(to_set(old)) : -1;
}

int suspend_without(int signo) {
  sigset_t set;
  if (sigprocmask(SIG_BLOCK, nullptr, &set) != 0 || sigdelset(&set, signo) != 0) {
    return -1;
  }
  return sigsuspend(&set);
}

int suspend_with(int mask) {
  sigset_t set;
  from_set(static_cast<unsigned>(mask), set);
  return sigsuspend(&set);
}

/// 4.3BSD's struct sigvec, which no header of libc has any more.
struct Sigvec {
  sighandler_t handler;
  int mask;
  int flags;
};
constexpr int kSvOnstack = 1;
constexpr int kSvInterrupt = 2;
constexpr int kSvResethand = 4;

}  // namespace

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's

ENCLUME_EXPORT int sighold(int signo) noexcept {
  return change_one(SIG_BLOCK, signo);
}
ENCLUME_EXPORT int sigrelse(int signo) noexcept {
  return change_one(SIG_UNBLOCK, signo);
}
ENCLUME_EXPORT int sigignore(int signo) noexcept {
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  return sigaction(signo, &ignore, nullptr);
}
ENCLUME_EXPORT sighandler_t sigset(int signo, sighandler_t handler) noexcept {
  sigset_t set;
  if (handler == SIG_ERR || !set_of(signo, set)) {
    errno = EINVAL;
    return SIG_ERR;
  }
  struct sigaction next {};
  next.sa_handler = handler;
  struct sigaction previous;
  const bool hold = handler == SIG_HOLD;
  if (sigaction(signo, hold ? nullptr : &next, &previous) != 0) {
    return SIG_ERR;
  }
  sigset_t old;
  if (sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, &old) != 0) {
    return SIG_ERR;
  }
  return sigismember(&old, signo) == 1 ? SIG_HOLD : previous.sa_handler;
}

ENCLUME_EXPORT int sigblock(int mask) noexcept {
  return change_bsd_mask(SIG_BLOCK, mask);
}
ENCLUME_EXPORT int sigsetmask(int mask) noexcept {
  return change_bsd_mask(SIG_SETMASK, mask);
}
ENCLUME_EXPORT int siggetmask() noexcept {
  return change_bsd_mask(SIG_BLOCK, 0);
}

/// For programs linked long ago; libc still has it for them.
ENCLUME_EXPORT int sigvec(int signo, const Sigvec* next, Sigvec* previous) noexcept {
  struct sigaction wanted {};
  if (next != nullptr) {
    wanted.sa_handler = next->handler;
    from_set(static_cast<unsigned>(next->mask), wanted.sa_mask);
    wanted.sa_flags = ((next->flags & kSvOnstack) != 0 ? SA_ONSTACK : 0) |
                      ((next->flags & kSvInterrupt) == 0 ? SA_RESTART : 0) |
                      ((next->flags & kSvResethand) != 0 ? static_cast<int>(SA_RESETHAND) : 0);
  }
  struct sigaction before;
  if (sigaction(signo, next != nullptr ? &wanted : nullptr, &before) != 0) {
    return -1;
  }
  if (previous != nullptr) {
    previous->handler = before.sa_handler;
    previous->mask = static_cast<int>(to_set(before.sa_mask));
    previous->flags = ((before.sa_flags & SA_ONSTACK) != 0 ? kSvOnstack : 0) |
                      ((before.sa_flags & SA_RESTART) == 0 ? kSvInterrupt : 0) |
                      ((before.sa_flags & static_cast<int>(SA_RESETHAND)) != 0 ? kSvResethand : 0);
  }
  return 0;
}

// The name is BSD's; <signal.h> makes it X/Open's.
#undef sigpause
extern "C" __attribute__((visibility("default"))) int enclume_bsd_sigpause(int mask) __asm__("sigpause");
extern "C" int enclume_bsd_sigpause(int mask) {
  return suspend_with(mask);
}
ENCLUME_EXPORT int __xpg_sigpause(int signo) {
  return suspend_without(signo);
}
ENCLUME_EXPORT int __sigpause(int signo_or_mask, int is_signo) {
  return is_signo != 0 ? suspend_without(signo_or_mask) : suspend_with(signo_or_mask);
}
