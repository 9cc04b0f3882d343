// SPDX-License-Identifier: Apache-2.0
// Gives a signal to the program as the kernel would: on the stack, with the mask and the frame that the
// program expects.
#pragma once

#include <cstdint>

#include "engine/entry/entry.h"
#include "engine/signals/actions.h"
#include "engine/signals/frame.h"

namespace enclume::engine {

struct ThreadBlock;

/// Why a signal comes: decides what happens when the program blocks or ignores it.
enum class Cause : std::uint8_t {
  Sent,   ///< kill, timer, …: ignored means gone, blocked means later
  Fault,  ///< raised by the instruction: ignored or blocked ends the process (force_sig_info_to_task)
};

/// What the program has asked for: for all of the process, or, in a child that shares this memory, for that
/// alone. Signal context: safe.
[[nodiscard]] Action action_of(const ThreadBlock& block, int signo);

/// Rewrites `frame` (the kernel's own, on the engine's stack, host context) so that its rt_sigreturn starts
/// the program's handler, whose frame is written to the program's stack. `current_mask` is the mask in force
/// outside the handler. With the default disposition the process ends as the program would.
/// If a debugger wants to see the signal first and this is not the second raise (`announced`), only that one
/// is arranged for. Signal context: safe.
void deliver(ThreadBlock& block, SignalFrame& frame, const siginfo_t& info, Cause cause,
             SignalSet current_mask, bool announced = false);

/// Sends the signal to this thread again, to be taken by the kernel's default action once the handler has
/// returned: the process ends with the right status and, where the signal does that, a core of the program's
/// own registers. Signal context: safe.
void end_by_default(const siginfo_t& info);

/// Sends a signal with this siginfo to this thread.
void requeue(const siginfo_t& info);

}  // namespace enclume::engine
