// SPDX-License-Identifier: Apache-2.0
// Threads and processes that the program makes by system calls of its own.
#pragma once

#include <linux/sched.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/errno.h"
#include "engine/calls/call.h"
#include "engine/sgx.h"
#include "engine/signals/frame.h"

namespace enclume::engine {

/// What a call and its child must know when they come back from raw/clone_stub.S.
struct alignas(64) CloneRecord {
  std::uint64_t rdi, rsi;            ///< of the child, while it has no other place
  AltStack stack;                    ///< for the child; of size 0 if it keeps the copy of its parent's
  std::atomic<std::uint32_t> users;  ///< who has not come back yet; 0: free
  std::uint64_t rip, rflags;         ///< of the program
  std::uint64_t program_rdi, program_rsi;
  SignalSet mask;
  ThreadBlock* child;  ///< made for a child in this address space, or null
  bool vfork;
  bool clears_handlers;  ///< CLONE_CLEAR_SIGHAND, which the kernel must not do: the engine needs its own
  bool is_thread;        ///< CLONE_THREAD
  clone_args arguments;  ///< of clone3
};
static_assert(offsetof(CloneRecord, rdi) == CLONE_RDI && offsetof(CloneRecord, rsi) == CLONE_RSI);
static_assert(offsetof(CloneRecord, stack) == CLONE_STACK);
static_assert(offsetof(CloneRecord, stack.size) == CLONE_STACK_SIZE);
static_assert(sizeof(CloneRecord) == CLONE_RECORD_SIZE);

extern "C" {
extern std::array<CloneRecord, CLONE_RECORDS> enclume_clone_records;

// Addresses in the assembly.
extern const char enclume_clone_stubs[];  ///< one every 16 bytes
extern const char enclume_clone_stubs_end[];
extern const char enclume_clone_returned[];
extern const char enclume_clone_exchanged[];
extern const char enclume_clone_parent[];
extern const char enclume_clone_numbered[];
extern const char enclume_clone_placed[];
extern const char enclume_clone_child[];
}

/// Sends the thread to make the call. An error is for the program: Again if there is no room for another one
/// on its way, or Linux copy_clone_args_from_user()'s. Signal context: safe.
[[nodiscard]] SysResult<void> start_clone(Interruption& it, const Call& call);

/// Whether the thread was on its way there and back. If it has come to the end, parent or child goes on as
/// behind a SYSCALL of its own; a signal that was sent meanwhile waits for that. Signal context: safe.
enum class CloneEnd : std::uint8_t {
  NotThere,
  Settled,
  Filtered,  ///< the program's own filter has refused the call by the signal at hand, which is the program's
};
[[nodiscard]] CloneEnd finish_clone(int signo, Interruption& it);

/// Whether a child in this address space was interrupted on its way, before it had a place of its own for the
/// frame, which lies on its stack then, or on its parent's alternate one. A signal that was sent waits in the
/// slot that the child is about to have. Signal context: safe, with signals blocked inside.
[[nodiscard]] bool wait_in_new_clone(int signo, const siginfo_t& info, const SigContext& m);

}  // namespace enclume::engine
