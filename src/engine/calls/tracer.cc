// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/tracer.h"

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <cstring>
#include <utility>

#include "arch/cpu_state.h"
#include "arch/enclu/debug.h"
#include "base/lock.h"
#include "base/syscall.h"
#include "engine/calls/tracee.h"
#include "engine/calls/tracee_maps.h"
#include "engine/calls/tracee_start.h"
#include "engine/debugger.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/load/start_program.h"
#include "engine/signals/announce.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

namespace {

constexpr int kTrapHwBreakpoint = 4;

// -- The tracees of this process

OwnerLock lock;
std::array<Tracee, 512> tracees;
std::atomic<bool> has_traced{false};  // whoever waits for ordinary children need not look through the table

Tracee* find(pid_t tid) {
  for (Tracee& tracee : tracees) {
    if (tracee.tid == tid) {
      return &tracee;
    }
  }
  return nullptr;
}

/// Null if there are too many: then the tracer sees what there is.
Tracee* find_or_add(pid_t tid) {
  if (Tracee* known = find(tid); known != nullptr) {
    return known;
  }
  Tracee* tracee = find(0);
  if (tracee != nullptr) {
    has_traced.store(true, std::memory_order_relaxed);
    *tracee = Tracee{};
    tracee->tid = tid;
  }
  return tracee;
}

// -- Stops

/// The tracee's engine decides what a trap of debug registers means; which have matched only we can see.
void list_breakpoints(Tracee& tracee, siginfo_t info) {
  const std::uint64_t dr6 = peek_register(tracee.tid, offsetof(user, u_debugreg[6]));
  info.si_errno = static_cast<int>(DebuggerMark::Breakpoints);
  for (unsigned n = 0; n < 4; ++n) {
    const std::uint64_t address =
        (dr6 & 1U << n) != 0 ? peek_register(tracee.tid, offsetof(user, u_debugreg) + 8 * n) : 0;
    std::memcpy(reinterpret_cast<std::byte*>(&info) + 16 + 8 * n, &address, sizeof(address));
  }
  (void)trace(PTRACE_SETSIGINFO, tracee.tid, 0, &info);
}

/// Matches that hardware suppresses do not show in DR6.
void correct_dr6(Tracee& tracee, const siginfo_t& info) {
  std::uint64_t matched;
  std::memcpy(&matched, reinterpret_cast<const std::byte*>(&info) + 24, sizeof(matched));
  if (matched >> 63 == 0) {
    return;
  }
  constexpr std::size_t kDr6 = offsetof(user, u_debugreg[6]);
  const std::uint64_t dr6 = peek_register(tracee.tid, kDr6);
  (void)trace(PTRACE_POKEUSER, tracee.tid, kDr6, dr6 & ~(arch::dr6::kBreakpoints & ~matched));
}

/// Steps into a handler: the kernel stops where the engine begins; the stop is wanted where the program's
/// does.
bool pass_to_handler(Tracee& tracee) {
  if (peek_register(tracee.tid, offsetof(user, regs.rip)) !=
      in_tracee(tracee, reinterpret_cast<const void*>(&enclume_signal_entry))) {
    return false;
  }
  // siginfo, which RSI points to: si_signo and si_errno share a word.
  const std::uint64_t info = peek_register(tracee.tid, offsetof(user, regs.rsi));
  std::uint64_t word = 0;
  if (!peek(tracee.tid, info, word)) {
    return false;
  }
  word = (word & 0xffffffff) | static_cast<std::uint64_t>(DebuggerMark::Step) << 32;
  return trace(PTRACE_POKEDATA, tracee.tid, info, word) && trace(PTRACE_CONT, tracee.tid);
}

long resuming(const Tracee& tracee) {
  return tracee.request == PTRACE_SYSCALL ? PTRACE_SYSCALL : PTRACE_CONT;
}

siginfo_t leave_for(int signal) {
  siginfo_t leave{};
  leave.si_signo = SIGBUS;
  leave.si_errno = static_cast<int>(DebuggerMark::Leave);
  leave.si_code = SI_QUEUE;
  leave.si_value.sival_int = signal;
  return leave;
}

/// Gives it to the engine, with all that can be blocked blocked: of two that wait the first would be lost.
/// The engine puts the mask back.
bool pass_leave(Tracee& tracee, siginfo_t leave) {
  SignalSet mask = 0;
  if (!trace(PTRACE_GETSIGMASK, tracee.tid, sizeof(mask), &mask)) {
    return false;
  }
  set_leave_mask(leave, mask);
  const SignalSet all = mask | kBlockable;
  return trace(PTRACE_SETSIGINFO, tracee.tid, 0, &leave) &&
         trace(PTRACE_SETSIGMASK, tracee.tid, sizeof(all), &all) &&
         trace(resuming(tracee), tracee.tid, 0, SIGBUS);
}

/// Gives the engine a signal of ours instead, after which the program's registers can be seen.
bool wait_for_exit(Tracee& tracee, const siginfo_t& info) {
  tracee.waiting = info;
  return pass_leave(tracee, leave_for(info.si_signo));
}

/// The signal's own stop is here.
void show_waiting(Tracee& tracee) {
  (void)trace(PTRACE_SETSIGINFO, tracee.tid, 0, &tracee.waiting);
  tracee.signal = tracee.waiting.si_signo;
  tracee.waiting = {};
  if (tracee.our_tf) {
    set_tf(tracee, false);
    tracee.our_tf = false;
  }
}

/// The engine's answer has been merged with a SIGBUS of the program's own: the signal comes as a new one.
void send_waiting(Tracee& tracee) {
  if (tracee.waiting.si_signo != 0) {
    sys::raw(__NR_tkill, tracee.tid, tracee.waiting.si_signo);
    tracee.waiting = {};
  }
}

bool hide(Tracee& tracee, int signal) {
  tracee.stop = TraceeStop::Plain;
  tracee.signal = signal;
  siginfo_t info{};
  if (!trace(PTRACE_GETSIGINFO, tracee.tid, 0, &info)) {
    return false;  // a group stop, or not our tracee
  }
  if (!find_engine(tracee)) {
    return false;
  }
  const bool stepping = tracee.request == PTRACE_SINGLESTEP;
  const long go_on = resuming(tracee);
  if (!is_active(tracee)) {
    return is_probe(tracee, info) &&
           trace(go_on, tracee.tid, 0, static_cast<std::uint64_t>(signal)).has_value();
  }
  // Somebody looks.
  set_announce(tracee, Announce::ToTracer);
  show_enclu(tracee);
  switch (static_cast<DebuggerMark>(info.si_errno)) {
    case DebuggerMark::HandlerEntry:
      tracee.stop = TraceeStop::HandlerEntry;
      return false;
    case DebuggerMark::Announced:
      tracee.stop = TraceeStop::Announced;
      if (tracee.our_tf) {
        set_tf(tracee, false);
        tracee.our_tf = false;
      }
      if (info.si_signo == SIGTRAP && info.si_code == kTrapHwBreakpoint) {
        correct_dr6(tracee, info);
      }
      return false;
    case DebuggerMark::Leave:
      return pass_leave(tracee, info);
    case DebuggerMark::Step:
      return trace(go_on, tracee.tid, 0, static_cast<std::uint64_t>(signal)).has_value();
    case DebuggerMark::Left:
      if (tracee.waiting.si_signo != 0) {
        show_waiting(tracee);
        return false;
      }
      if (tracee.interrupted) {
        (void)trace(PTRACE_INTERRUPT, tracee.tid);
      }
      return trace(go_on, tracee.tid).has_value();
    default:
      break;
  }
  if (!is_owned(signal)) {
    return is_inside(tracee) && wait_for_exit(tracee, info);
  }
  if (signal == SIGTRAP && stepping && !tracee.our_tf) {
    if (info.si_code == TRAP_TRACE) {
      return false;
    }
    if (info.si_code == SIGTRAP && pass_to_handler(tracee)) {  // ptrace_notify()
      return true;
    }
  }
  if (signal == SIGTRAP && info.si_code == SIGTRAP) {
    return false;  // a ptrace_notify() of another kind
  }
  // The engine first: it knows whether this is its own business, and shows what is not.
  if (signal == SIGTRAP && info.si_code == kTrapHwBreakpoint) {
    list_breakpoints(tracee, info);
  }
  if (stepping && !tracee.our_tf) {
    set_tf(tracee, true);
  }
  return trace(go_on, tracee.tid, 0, static_cast<std::uint64_t>(signal)).has_value();
}

/// PTRACE_INTERRUPT's stop.
bool hide_interrupt(Tracee& tracee, int signal) {
  if (!std::exchange(tracee.interrupted, false) && find_engine(tracee) && is_active(tracee) &&
      is_inside(tracee)) {
    const siginfo_t leave = leave_for(0);
    const long process = thread_group(tracee.tid);
    if (process > 0 &&
        sys::raw(__NR_rt_tgsigqueueinfo, process, tracee.tid, leave.si_signo, sys::arg(&leave)) == 0) {
      tracee.interrupted = true;
      return trace(resuming(tracee), tracee.tid).has_value();
    }
  }
  tracee.stop = TraceeStop::Plain;
  tracee.signal = signal;
  return false;
}

/// A stop after an exec that is not to be told of, since the program is not there yet.
bool hide_exec(Tracee& tracee, int event) {
  tracee.loads = false;
  if ((tracee.request != 0 && tracee.request != PTRACE_CONT) ||
      !trace(PTRACE_GETSIGINFO, tracee.tid, 0, &tracee.exec_info) ||
      (event == 0 && tracee.exec_info.si_code != SI_USER) || !ask_for_stop_at_program(tracee.tid)) {
    return false;
  }
  (void)trace(PTRACE_GETEVENTMSG, tracee.tid, 0, &tracee.exec_message);
  tracee.loads = trace(PTRACE_CONT, tracee.tid).has_value();
  tracee.exec_event = tracee.loads ? event : 0;
  return tracee.loads;
}

/// Whether it is there now: as if it were the stop after the exec.
bool stands_at_program(Tracee& tracee) {
  constexpr std::size_t kRip = offsetof(user, regs.rip);
  std::uint64_t entry = 0;
  if (!tracee.loads || !find_engine(tracee) ||
      peek_register(tracee.tid, kRip) != in_tracee(tracee, &enclume_program_stop) ||
      !peek(tracee.tid, in_tracee(tracee, &enclume_program_entry), entry)) {
    return false;
  }
  tracee.loads = false;
  tracee.stop = TraceeStop::Plain;
  tracee.signal = SIGTRAP;
  return trace(PTRACE_POKEUSER, tracee.tid, kRip, entry) &&
         trace(PTRACE_SETSIGINFO, tracee.tid, 0, &tracee.exec_info);
}

void forget(pid_t tid) {
  if (!has_traced.load(std::memory_order_relaxed)) {
    return;
  }
  const SignalsBlocked blocked;
  const OwnerLockGuard guard(lock, sys::gettid());
  if (Tracee* tracee = find(tid); tracee != nullptr) {
    tracee->tid = 0;
  }
}

/// A request that lets the tracee run.
SysResult<long> resume(long request, Tracee& tracee, std::uint64_t address, std::uint64_t signal) {
  const TraceeStop stop = tracee.stop;
  if (stop == TraceeStop::Announced && tracee.signal == SIGBUS) {
    send_waiting(tracee);
  }
  tracee.stop = TraceeStop::Plain;
  tracee.shown = false;
  tracee.exec_event = 0;
  tracee.request = request;
  forget_tracee_maps();
  if (stop == TraceeStop::HandlerEntry) {
    signal = 0;  // of this stop Linux ignores it
  }
  if (request == PTRACE_DETACH) {
    const pid_t tid = tracee.tid;
    if (tracee.interface != 0) {
      set_announce(tracee, Announce::Off);
    }
    tracee.tid = 0;
    return trace(request, tid, address, signal);
  }
  if (stop == TraceeStop::Announced && request == PTRACE_SINGLESTEP &&
      signal == static_cast<std::uint64_t>(tracee.signal)) {
    siginfo_t info{};
    if (trace(PTRACE_GETSIGINFO, tracee.tid, 0, &info)) {
      info.si_errno = static_cast<int>(DebuggerMark::AnnouncedStep);
      (void)trace(PTRACE_SETSIGINFO, tracee.tid, 0, &info);
      return trace(PTRACE_CONT, tracee.tid, address, signal);
    }
  }
  return trace(request, tracee.tid, address, signal);
}

/// siginfo without what passes between engine and tracer; and with it again.
void unmark(const Tracee& tracee, siginfo_t& info) {
  if (tracee.stop == TraceeStop::Announced) {
    info.si_errno = 0;
    if (info.si_signo == SIGTRAP && info.si_code == kTrapHwBreakpoint) {
      std::memset(reinterpret_cast<std::byte*>(&info) + 24, 0, 8);
    }
  } else if (tracee.stop == TraceeStop::HandlerEntry) {
    info.si_errno = 0;
    info.si_code = SIGTRAP;
  }
}

}  // namespace

void tracer_after_fork() {
  lock.reset_in_child();
  tracees = {};
}

void forget_tracee(pid_t tid) {
  if (engine().active && tid > 0) {
    forget(tid);
  }
}

bool hide_stop(pid_t tid, int& status) {
  if (!engine().active || tid <= 0) {
    return false;
  }
  if (WIFEXITED(status) || WIFSIGNALED(status)) {
    forget(tid);
    return false;
  }
  const int event = status >> 16;
  if (!WIFSTOPPED(status) || (WSTOPSIG(status) & 0x80) != 0 ||
      (event != 0 && event != PTRACE_EVENT_EXEC &&
       (event != PTRACE_EVENT_STOP || WSTOPSIG(status) != SIGTRAP))) {
    return false;
  }
  const SignalsBlocked blocked;
  const OwnerLockGuard guard(lock, sys::gettid());
  siginfo_t info;
  if (const auto r = trace(PTRACE_GETSIGINFO, tid, 0, &info); !r && static_cast<int>(r.error()) == ESRCH) {
    return false;  // job control of a child that nobody traces, or another thread's tracee
  }
  Tracee* tracee = find_or_add(tid);
  if (tracee == nullptr) {
    return false;
  }
  if (!tracee->shown) {
    forget_tracee_maps();
    const bool trap = event == 0 && WSTOPSIG(status) == SIGTRAP;
    if (trap && stands_at_program(*tracee)) {
      tracee->shown = true;
      status = tracee->exec_event << 16 | SIGTRAP << 8 | 0x7f;
      return false;
    }
    if ((trap || event == PTRACE_EVENT_EXEC) && hide_exec(*tracee, event)) {
      return true;
    }
    if (event == PTRACE_EVENT_EXEC) {
      return false;
    }
    if (event != 0 ? hide_interrupt(*tracee, WSTOPSIG(status)) : hide(*tracee, WSTOPSIG(status))) {
      return true;
    }
    tracee->shown = true;
  }
  status = (event | tracee->exec_event) << 16 | tracee->signal << 8 | 0x7f;
  return false;
}

SysResult<long> front_ptrace(long request, pid_t tid, std::uint64_t address, std::uint64_t data) {
  if (!engine().active) {
    return trace(request, tid, address, data);
  }
  const SignalsBlocked blocked;
  const OwnerLockGuard guard(lock, sys::gettid());
  Tracee* tracee = find(tid);
  if (tid == 0 || tracee == nullptr) {
    return trace(request, tid, address, data);
  }
  switch (request) {
    case PTRACE_CONT:
    case PTRACE_SINGLESTEP:
    case PTRACE_SINGLEBLOCK:
    case PTRACE_SYSCALL:
    case PTRACE_SYSEMU:
    case PTRACE_SYSEMU_SINGLESTEP:
    case PTRACE_LISTEN:
    case PTRACE_DETACH:
      return resume(request, *tracee, address, data);
    case PTRACE_GETEVENTMSG:
      if (tracee->exec_event == 0) {
        break;
      }
      return enclume_guarded_copy(reinterpret_cast<void*>(data), &tracee->exec_message,
                                  sizeof(tracee->exec_message)) == 0
                 ? SysResult<long>(0L)
                 : fail(Errno::Fault);
    case PTRACE_GETSIGINFO: {
      siginfo_t info{};
      const auto result = trace(request, tid, address, &info);
      if (result) {
        unmark(*tracee, info);
        if (enclume_guarded_copy(reinterpret_cast<void*>(data), &info, sizeof(info)) != 0) {
          return fail(Errno::Fault);
        }
      }
      return result;
    }
    case PTRACE_SETSIGINFO: {
      siginfo_t info{};
      if (enclume_guarded_copy(&info, reinterpret_cast<const void*>(data), sizeof(info)) != 0) {
        return fail(Errno::Fault);
      }
      if (tracee->stop == TraceeStop::Announced) {
        info.si_errno = static_cast<int>(DebuggerMark::Announced);
      }
      return trace(request, tid, address, &info);
    }
    case PTRACE_PEEKTEXT:
    case PTRACE_PEEKDATA:
    case PTRACE_POKETEXT:
    case PTRACE_POKEDATA:
      if (const auto own = tracee_word(tid, request, address, data)) {
        return *own;
      }
      break;
    default:
      break;
  }
  return trace(request, tid, address, data);
}

}  // namespace enclume::engine
