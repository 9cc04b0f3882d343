// SPDX-License-Identifier: Apache-2.0
// Where the engine's own system calls are made, and which of the program's never trap.
#pragma once

#include "base/types.h"

namespace enclume::engine {

/// The engine's own SYSCALL instruction, which is all that has to be exempt while only enclaves are watched.
[[nodiscard]] LinearRange own_gate();

/// Moves the engine's system calls to a SYSCALL and RET elsewhere, which is what it returns.
/// Signal context: unsafe (once, at start).
LinearRange move_gate_to(LinearRange gate);

/// Moves them to a SYSCALL and RET within libc, and returns libc's code: syscall user
/// dispatch exempts one range only, and it is libc whose calls must cost nothing. Empty if there is no libc
/// with such instructions.
/// Signal context: unsafe (once, at start).
[[nodiscard]] LinearRange move_gate_to_libc();

}  // namespace enclume::engine
