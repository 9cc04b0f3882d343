// SPDX-License-Identifier: Apache-2.0
// Valgrind runs a program on a processor of its own, which has no ENCLU.
#pragma once

#include "engine/load/initial_stack.h"

namespace enclume::engine {

/// Whether this process is such a program.
[[nodiscard]] bool runs_under_valgrind();

/// Whether a static program is Valgrind itself, by its name and what its launcher has left. In the program
/// that it runs, if that is static, the engine would not be.
[[nodiscard]] bool is_valgrind(const KernelStack& stack, const char* name);

[[noreturn]] void refuse_valgrind();

}  // namespace enclume::engine
