// SPDX-License-Identifier: Apache-2.0
// What a debugger outside the process is shown of the program's signals (engine/debugger.h).
#pragma once

#include <csignal>
#include <optional>

#include "engine/debugger.h"
#include "engine/signals/delivery.h"
#include "engine/signals/frame.h"

namespace enclume::engine {

struct ThreadBlock;

/// Whether a debugger wants to see this signal before the program gets it. Signal context: safe.
[[nodiscard]] bool is_announced(int signo);

/// Shows it: raised again once this handler has returned to the program's registers. Signal context: safe.
void announce(ThreadBlock& block, SignalFrame& frame, const siginfo_t& info, Cause cause);

/// What the debugger's side has written into the siginfo, None without one. Signal context: safe.
[[nodiscard]] DebuggerMark debugger_mark(const siginfo_t& info);

/// If this is the second raise: puts siginfo and frame back as the first one brought them, and says why it
/// came. Signal context: safe.
[[nodiscard]] std::optional<Cause> take_announced(ThreadBlock& block, UContext& uc, siginfo_t& info);

/// Where a tracer steps into the program's handler Linux stops it there (signal_delivered()): a SIGTRAP of
/// ours does, which comes before the handler's first instruction. `frame` returns to the handler. Signal
/// context: safe.
void stop_in_handler(ThreadBlock& block, SignalFrame& frame);

/// Tells the tracer that asked for it (DebuggerMark::Leave) that the program's registers can be seen, once
/// this handler has returned to them. Signal context: safe.
void stop_outside(SignalFrame& frame);

/// The mask that the thread had when the tracer asked for it. Signal context: safe.
[[nodiscard]] SignalSet leave_mask(const siginfo_t& leave);
void set_leave_mask(siginfo_t& leave, SignalSet mask);

/// The addresses in a siginfo with DebuggerMark::Breakpoints, and in their place which of them count (bit n
/// for DRn, and bit 63), for the tracer to correct DR6. Signal context: safe.
[[nodiscard]] std::uint64_t breakpoint_address(const siginfo_t& info, unsigned n);
void set_matched_breakpoints(siginfo_t& info, std::uint64_t bits);

}  // namespace enclume::engine
