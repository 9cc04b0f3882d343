// SPDX-License-Identifier: Apache-2.0
// Where a tracee has the engine and its enclaves, by /proc/PID/maps. The caller holds the tracer's lock.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "base/errno.h"

namespace enclume::engine {

/// The beginning, in the tracee, of the file that begins at `own_address` in this process; 0 if it is not
/// there.
[[nodiscard]] std::uint64_t tracee_library(pid_t tid, std::uint64_t own_address);

/// PTRACE_PEEKDATA, PTRACE_POKEDATA and their kin (with the kernel's arguments) on an enclave: EDBGRD and
/// EDBGWR, as Linux does them in sgx_vma_access(), by the engine's own mapping in the tracee. Nothing where
/// no enclave is. Errors: Io.
[[nodiscard]] std::optional<SysResult<long>> tracee_word(pid_t tid, long request, std::uint64_t address,
                                                         std::uint64_t data);

/// The process that the thread belongs to; 0 if it is gone.
[[nodiscard]] pid_t thread_group(pid_t tid);

/// A tracee runs: what was read of its maps does not hold any more.
void forget_tracee_maps();

}  // namespace enclume::engine
