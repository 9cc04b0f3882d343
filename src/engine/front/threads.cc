// SPDX-License-Identifier: Apache-2.0
// Threads that libc makes. The engine meets a thread when it first needs something, but not all that a thread
// begins with is in the kernel: it inherits its creator's mask (or has one from its attributes), and an owned
// signal that is blocked in the kernel would kill it at its first ENCLU. And libc sends threads two signals
// whose handlers it installs without asking.
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdlib>

#include "base/panic.h"
#include "base/syscall.h"
#include "base/types.h"
#include "engine/engine.h"
#include "engine/front/handed_mask.h"
#include "engine/front/real.h"
#include "engine/front/signals.h"
#include "engine/signals/held.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

namespace {

/// A thread's function, for the thread to call once its mask is in order.
template <typename Result>
struct Start {
  Result (*function)(void*);
  void* argument;
};

/// Begins with the mask that the thread shall have, in the kernel.
template <typename Result>
Result run(const Start<Result> start) {
  if (Engine::sees_raw_calls()) {
    // The kernel starts it without syscall user dispatch.
    engine().sync_after_fork();
    ENCLUME_CHECK(engine().current_thread() != nullptr);
  }
  ENCLUME_CHECK(engine().adopt_kernel_mask());
  return start.function(start.argument);
}

template <typename Result>
Result begin(void* raw) {
  const Start<Result> start = *static_cast<Start<Result>*>(raw);
  std::free(raw);
  return run(start);
}

/// Whether a thread has to come by the engine before it begins: if it blocks owned signals, or if its system
/// calls without libc are to be seen from the first one on.
bool must_begin_with_us(SignalSet owned) {
  return engine().active && (owned != 0 || Engine::sees_raw_calls());
}

using PthreadCreate = int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);

int create_thread(pthread_t* thread, const pthread_attr_t* attributes, void* (*function)(void*),
                  void* argument) {
  static Real<PthreadCreate> real{"pthread_create"};
  sigset_t set;
  const bool given = attributes != nullptr && pthread_attr_getsigmask_np(attributes, &set) == 0;
  const SignalSet owned = (given ? to_set(set) : virtual_mask_of_thread()) & kOwnedSet;
  if (!must_begin_with_us(owned)) {
    return real(thread, attributes, function, argument);
  }
  auto* start = static_cast<Start<void*>*>(std::malloc(sizeof(Start<void*>)));
  if (start == nullptr) {
    return EAGAIN;
  }
  *start = {function, argument};
  const HandedMask mask(given ? 0 : owned);
  const int result = real(thread, attributes, &begin<void*>, start);
  if (result != 0) {
    std::free(start);
  }
  return result;
}

int create_c11_thread(thrd_t* thread, thrd_start_t function, void* argument) {
  static Real<int(thrd_t*, thrd_start_t, void*)> real{"thrd_create"};
  const SignalSet owned = virtual_mask_of_thread();
  if (!must_begin_with_us(owned)) {
    return real(thread, function, argument);
  }
  auto* start = static_cast<Start<int>*>(std::malloc(sizeof(Start<int>)));
  if (start == nullptr) {
    return thrd_nomem;
  }
  *start = {function, argument};
  const HandedMask mask(owned);
  const int result = real(thread, &begin<int>, start);
  if (result != thrd_success) {
    std::free(start);
  }
  return result;
}

int begin_on_stack(void* raw) {
  return run(*static_cast<Start<int>*>(raw));
}

/// clone(): a thread or a process that begins with a function. Nothing that is allocated could be freed
/// again; but there is the child's stack.
int clone_with_mask(int (*function)(void*), void* stack, int flags, void* argument, pid_t* parent_tid,
                    void* tls, pid_t* child_tid) {
  static Real<int(int (*)(void*), void*, int, void*, ...)> real{"clone"};
  if (engine().active && (flags & CLONE_THREAD) == 0) {
    (void)engine().before_fork();
  }
  const SignalSet owned = virtual_mask_of_thread();
  if (!must_begin_with_us(owned) || function == nullptr || stack == nullptr) {
    return real(function, stack, flags, argument, parent_tid, tls, child_tid);
  }
  auto* start = reinterpret_cast<Start<int>*>(
      align_down(reinterpret_cast<std::uint64_t>(stack) - sizeof(Start<int>), 16));
  *start = {function, argument};
  const HandedMask mask(owned);
  return real(&begin_on_stack, start, flags, start, parent_tid, tls, child_tid);
}

// The signals that libc keeps for itself (nptl's internal-signals.h): their handlers run on the interrupted
// registers, which must not be an enclave's.
constexpr int kSigcancel = 32;
constexpr int kSigsetxid = 33;

Real<int(pthread_t)> real_cancel{"pthread_cancel"};

/// libc installs its handler of SIGCANCEL with the first pthread_cancel(), which may also send it. So the
/// first one is for a thread that is in no enclave.
void provoke_sigcancel_handler() {
  pthread_t thread;
  if (create_thread(
          &thread, nullptr,
          [](void*) -> void* {
            for (;;) {
              pause();  // a thread that has ended would not be cancelled, and nothing installed
            }
          },
          nullptr) == 0) {
    real_cancel(thread);
    pthread_join(thread, nullptr);
  }
}

/// libc installs its handler of SIGSETXID with the first thread.
int after_create(int result) {
  if (engine().active) {
    engine().actions.adopt(kSigsetxid);
  }
  return result;
}

/// The kernel's id of a thread: it is in the number of its clock (Linux include/linux/posix-timers_types.h).
/// 0 if there is none.
int tid_of(pthread_t thread) {
  clockid_t clock = 0;
  return pthread_getcpuclockid(thread, &clock) == 0 ? ~(clock >> 3) : 0;
}

}  // namespace

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's
namespace sys = enclume::sys;

ENCLUME_EXPORT int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                                  void* (*function)(void*), void* argument) noexcept {
  return after_create(create_thread(thread, attributes, function, argument));
}
ENCLUME_EXPORT int thrd_create(thrd_t* thread, thrd_start_t function, void* argument) {
  return after_create(create_c11_thread(thread, function, argument));
}
ENCLUME_EXPORT int pthread_cancel(pthread_t thread) {
  if (engine().active) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, &provoke_sigcancel_handler);
  }
  const int result = real_cancel(thread);
  if (engine().active) {
    engine().actions.adopt(kSigcancel);  // where that first thread could not be made
  }
  return result;
}

/// As libc's, but so that a thread that blocks the signal keeps it for itself.
ENCLUME_EXPORT int pthread_sigqueue(pthread_t thread, int signo, const union sigval value) noexcept {
  static Real<int(pthread_t, int, const union sigval)> real{"pthread_sigqueue"};
  const int tid = engine().active && is_owned(signo) ? tid_of(thread) : 0;
  if (tid == 0) {
    return real(thread, signo, value);
  }
  siginfo_t info{};
  info.si_signo = signo;
  info.si_code = SI_QUEUE;
  info.si_pid = sys::getpid();
  info.si_uid = static_cast<uid_t>(sys::raw(__NR_getuid));
  info.si_value = value;
  mark_for_thread(info);
  const auto r = sys::call(__NR_rt_tgsigqueueinfo, sys::getpid(), tid, signo, &info);
  return r ? 0 : static_cast<int>(r.error());
}

#define ENCLUME_CLONE_ARGUMENTS            \
  va_list list;                            \
  va_start(list, argument);                \
  auto* parent_tid = va_arg(list, pid_t*); \
  auto* tls = va_arg(list, void*);         \
  auto* child_tid = va_arg(list, pid_t*);  \
  va_end(list);

ENCLUME_EXPORT int clone(int (*function)(void*), void* stack, int flags, void* argument, ...) noexcept {
  ENCLUME_CLONE_ARGUMENTS
  return clone_with_mask(function, stack, flags, argument, parent_tid, tls, child_tid);
}
ENCLUME_EXPORT int __clone(int (*function)(void*), void* stack, int flags, void* argument, ...) noexcept {
  ENCLUME_CLONE_ARGUMENTS
  return clone_with_mask(function, stack, flags, argument, parent_tid, tls, child_tid);
}
