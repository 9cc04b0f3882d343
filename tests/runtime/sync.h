// SPDX-License-Identifier: Apache-2.0
// Threads in the enclave that wait for each other.
#pragma once

#include <cstdint>

#include "enclume/edge/interface.h"

namespace synchronised {

inline constexpr std::uint32_t kThreads = 4;

// In the enclave.
/// Locks, adds one to a counter that is not atomic, unlocks, so many times; how often it met somebody inside.
std::uint64_t hammer(std::uint32_t rounds);
std::uint64_t counter();
/// Sends 1 to `count` through a queue with four places, and takes `count` out of it; their sum.
void produce(std::uint32_t count);
std::uint64_t consume(std::uint32_t count);
/// Sleeps until release() or for so long; whether it was released.
bool wait_for_release(std::uint64_t nanoseconds);
/// The same for longer than there are nanoseconds in 64 bits.
bool wait_for_release_for_ages();
std::uint32_t sleepers();
void release(bool all);
/// By std::unique_lock and std::scoped_lock; whether try_lock tells the truth.
bool standard_locks();
/// The first one makes a static variable, waits in the middle of that until another thread wants it, and
/// fails.
std::uint64_t make_static();

}  // namespace synchronised

using Sync = enclume::Interface<enclume::Ecalls<
    synchronised::hammer, synchronised::counter, synchronised::produce, synchronised::consume,
    synchronised::wait_for_release, synchronised::wait_for_release_for_ages, synchronised::sleepers,
    synchronised::release, synchronised::standard_locks, synchronised::make_static>>;
