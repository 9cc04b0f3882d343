// SPDX-License-Identifier: Apache-2.0
// A program that traces others by ptrace(): it shall see of a tracee what Linux on hardware shows, not the
// engine at work in it. So the doors of waitpid() and its kin keep stops for themselves that are the engine's
// business, and those of ptrace() make one step of an ENCLU. The same without libc (raw/trace_calls.h). See
// docs/debugging.md. Signal context: all of it is safe.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/errno.h"

namespace enclume::engine {

/// In the child of a fork, which traces nobody.
void tracer_after_fork();

/// It has ended, and has been waited for.
void forget_tracee(pid_t tid);

/// A stop that wait4() has reported, as its status. True if it was the engine's own: the tracee runs again,
/// and the tracer is not to be told. Else `status` is what to tell.
[[nodiscard]] bool hide_stop(pid_t tid, int& status);

/// ptrace(2) with the kernel's own arguments and result (PEEK requests write to `data`).
[[nodiscard]] SysResult<long> front_ptrace(long request, pid_t tid, std::uint64_t address,
                                           std::uint64_t data);

}  // namespace enclume::engine
