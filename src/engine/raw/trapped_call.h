// SPDX-License-Identifier: Apache-2.0
// The second front door: a SYSCALL instruction outside libc, which syscall user dispatch has turned into
// SIGSYS, or a patch into SIGSEGV.
#pragma once

#include <csignal>

#include "engine/sgx.h"
#include "engine/signals/frame.h"

namespace enclume::engine {

/// Whether this is such a call of host code.
[[nodiscard]] bool is_trapped_call(int signo, const siginfo_t& info);

/// Whether RIP is at a SYSCALL that has been patched (start/host_code.h): then it is moved behind it, and all
/// is as above. Signal context: safe.
[[nodiscard]] bool is_patched_call(int signo, const siginfo_t& info, SigContext& m);

/// Answers the call, or makes it for the program, and puts the result into the program's registers. True if
/// that was all; else `report` is a signal that the program gets with the registers as they are now. Signal
/// context: safe.
[[nodiscard]] bool trapped_call(Interruption& it, siginfo_t& report);

/// The engine was interrupted by a signal that was sent to it: if it was about to make a call for the
/// program, or is to make it once more, the call is left to the program, whose handler comes first. Signal
/// context: safe.
void leave_call_to_program(SigContext& interrupted);

/// The program's own filter has refused, by a signal, a call that the engine has made: for the program, which
/// gets the signal then, or for itself, in which case the call is none that this kernel has. False if this is
/// something else. Signal context: safe.
[[nodiscard]] bool take_filtered_call(ThreadBlock& block, SigContext& interrupted, int signo,
                                      const siginfo_t& info);

}  // namespace enclume::engine
