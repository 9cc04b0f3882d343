// SPDX-License-Identifier: Apache-2.0
// execve(2) and execveat(2) by system calls of the program's own.
#pragma once

#include "engine/calls/call.h"
#include "engine/sgx.h"

namespace enclume::engine {

/// Makes the call, with an environment that names the engine. Comes back only if it has failed, or must be
/// made again; returns as execute() does. Signal context: safe.
[[nodiscard]] bool raw_exec(Interruption& it, const Call& call, siginfo_t& report);

}  // namespace enclume::engine
