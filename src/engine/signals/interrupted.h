// SPDX-License-Identifier: Apache-2.0
// What a signal has interrupted: questions that the handlers of all threads ask. Signal context: safe.
#pragma once

#include <csignal>

#include "engine/entry/entry.h"
#include "engine/fast/recover.h"
#include "engine/signals/frame.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

/// One of the owned signals, forced by what an instruction did.
[[nodiscard]] bool raised_by_instruction(int signo, const siginfo_t& info);
[[nodiscard]] bool is_step(int signo, const siginfo_t& info);

/// Lets a copy from or to the program's memory end that has faulted, or an INT 0x80 that this kernel does not
/// have. False if it was neither.
bool fix_own_fault(UContext& uc);

/// The engine's system call instruction (wherever that is), or behind it.
[[nodiscard]] bool at_gate(std::uint64_t rip);

/// Whether a front door has its signals blocked. A program without libc may block as many itself.
[[nodiscard]] bool is_front_door(const UContext& uc);

/// Whether the signal that found the thread on a direct path is to be dealt with where it stands now. What an
/// instruction of the path itself has raised is nobody's, but for a step, which ends there as well.
[[nodiscard]] bool outlives_recovery(Recovered from, int signo, const siginfo_t& info, const SigContext& m);

/// Whether the handler's own stack was in use: then it is the engine that was interrupted. While the mode
/// still says "enclave" RSP proves nothing, it may be the enclave's; then only our own code counts, and of
/// what is not in our own text, the way out. So it does otherwise, too, except that the trace of instructions
/// calls a disassembler that lies elsewhere.
[[nodiscard]] bool interrupted_engine(const ThreadBlock& block, const UContext& uc, const EntryFacts& facts);

/// Something arrived while the engine was at work. Nothing of the program may run now: it is noted, and what
/// can be blocked stays blocked until the engine's own return restores the mask. To send it again instead
/// would put a real-time signal behind those queued after it.
void on_nested(int signo, const siginfo_t& info, UContext& uc, ThreadBlock& block, const EntryFacts& facts,
               ExitPlan& plan);

}  // namespace enclume::engine
