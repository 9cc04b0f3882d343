// SPDX-License-Identifier: Apache-2.0
// Where the machine's shared state is. Processes that fork from each other share a machine, and so do those
// that are handed an enclave over a socket or by exec. An anonymous mapping is for the former only; a
// descriptor would be the program's to see and to close. So the state lies in a segment of System V shared
// memory, which is found by a number that each enclave's file has, which vanishes with the last process that
// has it, and which is made when a tree of processes opens its first enclave. Where there are no such
// segments, it lies in the anonymous mapping.
//
// Signal context: safe, all of these. The caller has signals blocked.
#pragma once

#include "base/errno.h"
#include "kernel/shared.h"

namespace enclume::engine {

/// The place for the machine's state. All zeros until the process joins a machine.
[[nodiscard]] kernel::KernelShared& shared_machine_place();

/// Makes that place, and what is known of the machine, one that children to come share: before a fork that
/// copies memory. (What most processes do not do.) Errors: NoMemory.
[[nodiscard]] SysResult<void> share_machine_place();

/// In a forked child.
void shared_machine_after_fork();

/// Whether there is anything in the place. Until then there are no enclaves.
[[nodiscard]] bool has_joined_machine();

/// Brings the machine into being or finds that of the process's relatives, before its first enclave is
/// attached. Errors: NoMemory.
[[nodiscard]] SysResult<void> join_shared_machine(kernel::KernelShared& shared, std::uint64_t epc_pages);

/// Goes over to the machine that the enclave behind the descriptor belongs to. The process must have no
/// enclave attached, and none may be attached meanwhile. False if that machine can't be found: its processes
/// are gone, are another user's, or are in another IPC namespace.
[[nodiscard]] bool move_to_machine_of(int fd, kernel::KernelShared& shared);

}  // namespace enclume::engine
