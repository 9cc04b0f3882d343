// SPDX-License-Identifier: Apache-2.0
// What a trapped entry leaves behind for the next one, which then needs no trap.
#pragma once

#include <cstdint>

#include "engine/stats/slow.h"
#include "engine/threads/thread_block.h"
#include "kernel/kernel.h"

namespace enclume::engine {

/// An EENTER or ERESUME that a trap has made.
struct TrappedEntry {
  std::uint64_t aep = 0;
  std::uint64_t rsp = 0;  ///< the program's
  bool resumed = false;
};

/// Remembers the TCS, so that the thread can leave by a direct exit; and, if it came by the vDSO's ENCLU,
/// enter directly the next time. Counts why it could not this time. Signal context: safe.
void remember_entry(ThreadBlock& block, const kernel::Kernel& kernel, const TrappedEntry& entry);

/// For good: something has turned up that the direct paths would hide. Signal context: safe.
void turn_off_direct_paths(Slow why);
/// Why they are off, if they are.
[[nodiscard]] Slow direct_paths_off_because();

/// Whether a debugger has taken the vDSO function's way to the direct entry.
[[nodiscard]] bool debugger_has_way_in();

/// Where threads keep the pointer to their block: its place in the calling thread's libc TLS, by whose FS
/// base it is found in any other. Once, at start.
void keep_blocks_at(const void* thread_local_pointer, std::uint64_t fs_base);

}  // namespace enclume::engine
