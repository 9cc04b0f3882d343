// SPDX-License-Identifier: Apache-2.0
// One thread that is traced: what is known of it, and what its registers and memory say of the engine in it.
// The caller holds the tracer's lock. Signal context: all of it is safe.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <cstddef>
#include <cstdint>

#include "base/errno.h"
#include "engine/debugger.h"

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

/// ptrace(2) of the kernel.
SysResult<long> trace(long request, pid_t tid, std::uint64_t address = 0, std::uint64_t data = 0);
SysResult<long> trace(long request, pid_t tid, std::uint64_t address, const void* data);

/// A word of struct user; 0 if it can't be had.
[[nodiscard]] std::uint64_t peek_register(pid_t tid, std::size_t offset);

/// A word of its memory.
[[nodiscard]] bool peek(pid_t tid, std::uint64_t address, std::uint64_t& value);

void set_tf(Tracee& tracee, bool on);

/// Finds the same engine in the tracee. A program that the tracee has become since has another.
[[nodiscard]] bool find_engine(Tracee& tracee);

/// Where something of the engine is in the tracee, once it has been found.
[[nodiscard]] std::uint64_t in_tracee(const Tracee& tracee, const void* of_engine);

/// Tells the tracee's engine whether there is somebody to announce signals to.
void set_announce(const Tracee& tracee, Announce announce);

/// The tracee enters by its vDSO's ENCLU from now on, where steps and breakpoints meet it.
void show_enclu(const Tracee& tracee);

/// While the program is being loaded its signals have no handler of the engine's.
[[nodiscard]] bool is_active(const Tracee& tracee);

/// Whether a signal is what the engine does to itself to find out about the machine.
[[nodiscard]] bool is_probe(const Tracee& tracee, const siginfo_t& info);

/// Whether the tracee's registers are not the program's: enclave code was interrupted, or the engine at work.
[[nodiscard]] bool is_inside(const Tracee& tracee);

}  // namespace enclume::engine
