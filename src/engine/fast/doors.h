// SPDX-License-Identifier: Apache-2.0
// What a trapped entry leaves behind for the next one, which then needs no trap.
#pragma once

#include <cstdint>

#include "engine/signals/frame.h"
#include "engine/threads/thread_block.h"
#include "kernel/kernel.h"

namespace enclume::engine {

/// After EENTER or ERESUME by a trap: remembers the TCS, so that the thread can leave by a direct exit; and,
/// if it came by the vDSO's ENCLU, enter directly the next time. `rsp` is the program's. Signal context:
/// safe.
void remember_entry(ThreadBlock& block, const kernel::Kernel& kernel, std::uint64_t aep, std::uint64_t rsp);

/// Where threads keep the pointer to their block: its place in the calling thread's libc TLS, by whose FS
/// base it is found in any other. Once, at start.
void keep_blocks_at(const void* thread_local_pointer, std::uint64_t fs_base);

}  // namespace enclume::engine
