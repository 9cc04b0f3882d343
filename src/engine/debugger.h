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
  /// The debugger writes an Announce here. From then on a signal of the six that the engine needs for itself
  /// is raised again before the program gets it, with the program's registers and si_errno =
  /// DebuggerMark::Announced: so the debugger can pass all others unseen and stop at these. It may swallow
  /// them as it may any signal.
  volatile std::uint32_t announce;
  std::uint64_t vdso;  ///< ELF header of the vDSO image that the program sees, 0 before it is there
  /// The debugger writes the address of an ENCLU here and moves a thread from there to
  /// enclume_debugger_enclu: so the thread executes it without meeting the debugger's breakpoint on it.
  volatile std::uint64_t enclu;
  /// A static program that the engine has mapped: its file, null if there is none, and what has to be added
  /// to the addresses in it.
  const char* program;
  std::uint64_t program_bias;
  /// Through the quadword at `direct_slot` the vDSO function goes where its ENCLU comes next. A debugger that
  /// wants to step there, or has a breakpoint there, writes `direct_enclu` into it: then it is that ENCLU
  /// always. 0: it is in any case.
  std::uint64_t direct_slot;
  std::uint64_t direct_enclu;
};

enum class Announce : std::uint32_t {
  Off = 0,
  /// INT3's SIGTRAP comes with TRAP_BRKPT: debuggers take SI_KERNEL for a breakpoint of theirs and move RIP.
  ToDebugger = 1,
  /// With the siginfo that it has, for the front doors of ptrace() in another process (calls/tracer.h).
  ToTracer = 2,
};

/// In si_errno, which the kernel leaves 0, of signals between engine and debugger. Only while `announce` is
/// on.
enum class DebuggerMark : int {
  None = 0,
  Announced = 0x454e434c,  ///< the engine's second raise
  AnnouncedStep,  ///< the tracer's, for Announced: a stop is wanted where the program's handler begins
  Step,           ///< the tracer's, the same for a signal that the engine does not own
  HandlerEntry,   ///< the engine's: a SIGTRAP that is this stop, and nobody's signal
  /// The tracer's, of a TRAP_HWBKPT: si_addr and the three words behind it are the addresses of the data
  /// breakpoints in DR0 to DR3 that have matched, 0 for the others.
  Breakpoints,
  /// The tracer's, of a SIGBUS in place of a signal that met an enclave or the engine at work: first to the
  /// program's own registers, where Linux on hardware shows it. si_value is the signal's number.
  Leave,
  Left,  ///< the engine's answer, a SIGBUS at those registers
};

enum class DebuggerEvent : int {
  Started = 1,  ///< the interface is filled in; nothing of the program has run
  Loaded = 3,   ///< a static program is mapped, of which nothing has run; the loader is still there
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
