// SPDX-License-Identifier: Apache-2.0
// Owned signals that were sent while the program blocks them: what would be pending in the kernel, if the
// kernel had them blocked. As there, one of a number at most is kept for a thread, and one for the process.
#pragma once

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>

#include "base/lock.h"
#include "engine/signals/frame.h"

namespace enclume::engine {

struct ThreadBlock;

/// Signals that were sent to the process while no thread takes them.
struct ProcessHeld {
  OwnerLock lock;  ///< taken with all signals blocked, or on the engine's own stack
  std::atomic<std::uint8_t> bits{0};
  std::array<siginfo_t, 6> info{};
};

/// Keeps a signal that `block`'s thread, the running one, has got and blocks. One for the process goes to a
/// thread that takes it, if there is one (Linux complete_signal()). Signal context: safe.
void hold(ThreadBlock& block, const siginfo_t& info);

/// The same for the only thread of a new process that shares its parent's memory, and so what is held for the
/// parent's.
void hold_in_new_process(ThreadBlock& block, const siginfo_t& info);

/// One that came while a front door had its signals blocked (SignalsBlocked): kept until that is over. Signal
/// context: safe.
void hold_for_front_door(ThreadBlock& block, const siginfo_t& info);
/// The running thread has something else that shall wait until then. Signal context: safe.
void wait_for_front_door(ThreadBlock& block);
/// What SignalsBlocked does at its end. Costs a load when there is nothing.
void release_for_front_door();

/// Sends this thread the signals again that wait for it and that its virtual mask lets through now. The
/// caller has all signals blocked in the kernel, so that they come together when it unblocks them. Signal
/// context: safe.
void release_held(ThreadBlock& block);
[[nodiscard]] bool anything_to_release(const ThreadBlock& block);

/// What sigpending(2) shows of them, and what sigtimedwait(2) takes: a thread's own before the process's,
/// lower numbers first (Linux dequeue_signal()). For taking, the caller has all signals blocked. `block` may
/// be null. Signal context: safe.
[[nodiscard]] SignalSet held_pending(const ThreadBlock* block);
[[nodiscard]] bool take_held(ThreadBlock* block, SignalSet wanted, siginfo_t& out);

/// The program ignores the signal from now on: Linux takes it off all queues (do_sigaction()).
void drop_held(int signo);

/// A child has none of its parent's (fork(2)). What the thread has held its block says.
void forget_held_after_fork();

/// Before execve(2), which keeps what is pending: gives all to the kernel, which has them blocked.
void hand_held_to_kernel(ThreadBlock* block);

/// pthread_sigqueue() looks like sigqueue() to who gets the signal, but it is for the thread. So the engine's
/// marks the siginfo, behind the fields that SI_QUEUE has; the kernel carries that along.
void mark_for_thread(siginfo_t& info);

}  // namespace enclume::engine
