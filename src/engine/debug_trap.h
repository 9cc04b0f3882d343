// SPDX-License-Identifier: Apache-2.0
// What a SIGTRAP says of its cause.
#pragma once

#include <csignal>
#include <cstdint>

#include "engine/signals/frame.h"

namespace enclume::engine {

enum class DebugTrap : std::uint8_t {
  None,           ///< sent, or of no kind that an instruction raises
  Breakpoint,     ///< #BP: INT3, or INT 3 in two bytes
  Icebp,          ///< #DB by INT1: DR6 gives no cause
  SingleStep,     ///< #DB with DR6.BS
  DebugRegister,  ///< #DB with one of DR6.B0 to B3: a tracer set the register. Which one only the tracer can
                  ///< see
  PerfEvent,  ///< the same for a breakpoint event with `sigtrap` set; siginfo has its address, the frame no
              ///< vector
};

/// From si_code (Linux: get_si_code() in arch/x86/kernel/traps.c, perf_sigtrap()). Signal context: safe.
[[nodiscard]] DebugTrap debug_trap_of(int signo, const siginfo_t& info, const SigContext& m);

/// For a breakpoint's trap: whether it is an instruction breakpoint. The kernel sets RF for those and only
/// for those, so that the instruction can go on (hw_breakpoint_handler()); else RF is set between the
/// iterations of a string instruction only, of which `next_is_string` says whether one is at RIP.
[[nodiscard]] bool is_code_breakpoint(const SigContext& m, bool next_is_string);

/// Linux sends a perf event's SIGTRAP to a thread that blocks it later, marked, and never kills for it
/// (send_sig_perf()). Such a one has nothing to do with the instruction that it interrupts.
[[nodiscard]] bool is_asynchronous(const siginfo_t& info);
void mark_asynchronous(siginfo_t& perf_trap);

}  // namespace enclume::engine
