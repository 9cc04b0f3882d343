// SPDX-License-Identifier: Apache-2.0
// A tracee that executes a static program stops behind the exec as Linux has it, but in the loader (see
// load/initial_stack.h), where none of the program is mapped: a debugger could plant no breakpoint. So the
// tracer is not told of that stop, and the tracee is asked for another one, at the program's first
// instruction.
#pragma once

#include <sys/types.h>

namespace enclume::engine {

/// Asks a tracee that has stopped after an exec. False if it is not at the loader's first instruction. Signal
/// context: safe.
[[nodiscard]] bool ask_for_stop_at_program(pid_t tid);

}  // namespace enclume::engine
