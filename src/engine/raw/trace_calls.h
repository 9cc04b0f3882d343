// SPDX-License-Identifier: Apache-2.0
// What a tracer waits for without libc (Go's debugger, static ones); see calls/tracer.h. ptrace(2) itself is
// among own_answer()'s.
#pragma once

#include "engine/calls/call.h"
#include "engine/sgx.h"

namespace enclume::engine {

/// wait4(2) and waitid(2): a stop of a tracee that is the engine's business is not told of, and the call is
/// made once more. As trapped_call() otherwise. Signal context: safe.
[[nodiscard]] bool raw_wait4(Interruption& it, Call call, siginfo_t& report);
[[nodiscard]] bool raw_waitid(Interruption& it, Call call, siginfo_t& report);

}  // namespace enclume::engine
