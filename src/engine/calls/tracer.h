// SPDX-License-Identifier: Apache-2.0
// A program that traces others by ptrace(): it shall see of a tracee what Linux on hardware shows, not the
// engine at work in it. So the doors of waitpid() and its kin keep stops for themselves that are the engine's
// business, and those of ptrace() make one step of an ENCLU. The same without libc (raw/trace_calls.h). See
// docs/debugging.md. Signal context: all of it is safe.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <cstdint>

#include "base/errno.h"

namespace enclume::engine {

/// What a stop of a tracee was, as far as the next request has to know.
enum class TraceeStop : std::uint8_t {
  Plain,
  Announced,     ///< a signal of the program's that the tracee's engine has shown
  HandlerEntry,  ///< the first instruction of a handler that was stepped into
};

struct Tracee {
  int tid = 0;  ///< 0: a free entry
  TraceeStop stop = TraceeStop::Plain;
  int signal = 0;       ///< of that stop
  long request = 0;     ///< by which the tracee was resumed last
  bool our_tf = false;  ///< RFLAGS.TF of the tracee was set by us
  bool shown = false;   ///< the tracer knows of this stop, as of one by `signal`
  bool loads = false;   ///< it was asked for a stop where its program begins; instead of this one:
  int exec_event = 0;   ///< PTRACE_EVENT_EXEC, or 0
  unsigned long exec_message = 0;
  siginfo_t exec_info{};
  bool interrupted = false;     ///< a PTRACE_INTERRUPT whose stop waits for the program's registers
  siginfo_t waiting{};          ///< a signal that does, si_signo 0: none
  std::uint64_t interface = 0;  ///< of enclume_debugger there; 0: not looked for, or no engine
};

/// In the child of a fork, which traces nobody.
void tracer_after_fork();

/// It has ended, and has been waited for.
void forget_tracee(pid_t tid);

/// A stop that wait4() has reported, as its status. True if it was the engine's own: the tracee runs again,
/// and the tracer is not to be told. Else `status` is what to tell.
[[nodiscard]] bool hide_stop(pid_t tid, int& status);

/// ptrace(2) with the kernel's own arguments and result (PEEK requests write to `data`).
[[nodiscard]] SysResult<long> front_ptrace(long request, pid_t tid, std::uint64_t address,
                                           std::uint64_t data);

}  // namespace enclume::engine
