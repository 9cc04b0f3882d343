// SPDX-License-Identifier: Apache-2.0
// What a debugger outside the process is told. share/enclume/enclume-gdb.py is written against this; another
// debugger can be as well. docs/debugging.md has the protocol in words.
#pragma once

#include <csignal>
#include <cstdint>

namespace enclume::engine {

/// Found by a debugger under the name enclume_debugger. Fields are only ever added behind the last.
struct DebuggerInterface {
  std::uint32_t version;  ///< 1
  /// The debugger writes 1 here. From then on a signal of the six that the engine needs for itself is raised
  /// again before the program gets it, with the program's registers and si_errno = kAnnouncedErrno: so the
  /// debugger can pass all others unseen and stop at these. It may swallow them as it may any signal.
  volatile std::uint32_t announce;
  std::uint64_t vdso;  ///< ELF header of the vDSO image that the program sees, 0 before it is there
  /// The debugger writes the address of an ENCLU here and moves a thread from there to
  /// enclume_debugger_enclu: so the thread executes it without meeting the debugger's breakpoint on it.
  volatile std::uint64_t enclu;
};

inline constexpr int kAnnouncedErrno = 0x454e434c;

enum class DebuggerEvent : int {
  Started = 1,  ///< the interface is filled in; nothing of the program has run
  Signal = 2,   ///< the signal in the second argument is about to be raised again on this thread
};

}  // namespace enclume::engine

extern "C" {
extern enclume::engine::DebuggerInterface enclume_debugger;
/// Does nothing: debuggers set a breakpoint here. Signal context: safe.
void enclume_debugger_event(enclume::engine::DebuggerEvent event, int signo);
/// An ENCLU that stands for the one at enclume_debugger.enclu.
extern const char enclume_debugger_enclu[];
}
