// SPDX-License-Identifier: Apache-2.0
// What the engine knows of one thread. Found from RSP: a handler runs on the alternate stack below it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "arch/logical_processor.h"
#include "engine/entry/layout.h"
#include "engine/fast/door.h"
#include "engine/pages/enclu_traps.h"
#include "engine/signals/actions.h"
#include "engine/signals/frame.h"
#include "engine/signals/pkru.h"
#include "engine/step/run_ahead.h"
#include "engine/step/step.h"

namespace enclume::engine {

/// Work found while the engine itself was interrupted.
inline constexpr std::uint32_t kDeferredKick = 1;    ///< leave the enclave once: a reclaimer waits for it
inline constexpr std::uint32_t kDeferredSignal = 2;  ///< shifted by n: ThreadBlock::deferred_signals[n]
inline constexpr std::uint32_t kDeferredLeave = 1U << 31;  ///< a tracer waits for the program's registers
/// The owned signals have n = 0 to 5, the others share what follows: as many can come before the first of
/// them has blocked the rest. One of a number blocks the next of that number, so they need no order.
inline constexpr std::size_t kDeferredOwned = 6;
inline constexpr std::size_t kDeferredSlots = 14;
inline constexpr std::uint32_t kDeferredOthers =
    (kDeferredSignal << kDeferredSlots) - (kDeferredSignal << kDeferredOwned);
static_assert((kDeferredSignal << kDeferredSlots) < kDeferredLeave);

/// Tells a program's frame whose it is.
struct FrameOwner {
  std::uint64_t frame;
  std::uint64_t fs;
};

/// What ended a guarded copy.
struct CopyFault {
  siginfo_t info;
  std::uint64_t trapno, err, cr2;
};

/// An instruction of an enclave that has been trapped, for whose sake the thread holds its page; see
/// NativeProtection::hold().
struct TrappedSite {
  LinearAddress page{};  ///< 0: none
  std::uint64_t rip = 0;
  std::uint64_t next = 0;  ///< behind the instruction
  std::uint32_t generation = 0;
};

struct CloneRecord;

struct alignas(64) ThreadBlock {
  /// Syscall user dispatch reads it on each system call; see entry/layout.h.
  std::atomic<std::uint8_t> selector;
  /// 1: a nested signal has blocked the rest; the mask that this handler began with is in `mask`.
  std::atomic<std::uint8_t> mask_saved;
  /// 1: enclave code runs. The entry code clears it, the exit code sets it.
  std::atomic<std::uint8_t> enclave;
  std::uint8_t pad;
  /// kDeferred bits: what the exit code must see to before it leaves. See entry/entry.S.
  std::atomic<std::uint32_t> deferred;
  /// The host's bases while enclave code runs.
  std::uint64_t host_fs;
  std::uint64_t host_gs;

  ThreadBlock* self;  ///< guards against a stack pointer that strayed into the arena
  int tid;
  std::uint32_t slot;
  std::uint32_t slot_link;  ///< in a free slot: 1 + the next free slot
  bool sud_armed;
  Pkru host_pkru;  ///< with which the thread has entered
  /// For a reclaimer that must know that this thread has left once: the SECS that it is inside (its
  /// EpcAddress), and how often it has left one.
  std::atomic<std::uint32_t> exits;
  std::atomic<std::uint64_t> inside;
  FastThread fast;
  std::uint64_t xfrm;      ///< of the enclave that it is in, for the exit, after which `lp` does not know it
  AltStack program_stack;  ///< what the program believes its alternate stack is
  /// The frame that was last written for a handler of the program, and FS's base then: see owner_of().
  FrameOwner frame_owner;
  /// What the program believes blocked of the owned signals, as pack_owned() has it.
  std::atomic<std::uint8_t> virtual_mask;
  /// A child that shares this block between vfork and exec, and has changed its mask: all of it is the
  /// kernel's.
  int vfork_child;
  int handler_tid;  ///< the thread's id, once a handler has asked for it: Engine::handler_thread_id()
  bool orphan;  ///< after a fork: of a thread that this process does not have, or that has not been met yet
  SignalSet mask;  ///< see mask_saved
  /// While the thread waits with a mask of its own (sigsuspend, ppoll, …): the program's mask afterwards.
  std::atomic<bool> waits_with_mask;
  SignalSet mask_after_wait;
  /// The owned signals that it waits for with sigtimedwait.
  std::atomic<std::uint8_t> waits_for;
  /// What the kernel has blocked of the owned signals while libc hands the mask on (front/handed_mask.h).
  std::atomic<std::uint8_t> handed_mask;
  std::atomic<std::uint32_t> handlers_run;  ///< counts the program's handlers as they start
  /// Owned signals that were sent to this thread while it blocks them; see signals/held.h.
  std::atomic<std::uint8_t> held_bits;
  std::array<siginfo_t, 6> held;
  std::atomic<bool> held_for_front_door;  ///< one came while a front door had its signals blocked
  std::array<siginfo_t, kDeferredSlots> deferred_signals;  ///< written once the bit in `deferred` is set
  /// A request of `enclume ctl` that came while the engine or a front door was at work (control/obey.h).
  std::atomic<bool> request_waits;
  siginfo_t request;
  CloneRecord* clone;        ///< of the clone that the thread has left the engine for
  int process;               ///< 0, or the process that it is, in this one's address space
  bool parent_waits;         ///< that of such a process, by vfork: nobody would go on from a stop of a tracee
  bool traced_from_exec_on;  ///< it has asked for its parent as its tracer meanwhile
  /// For such a process, which has the engine's handlers still: what it has asked for of the owned signals.
  SignalSet child_default, child_ignored, child_handled;
  std::array<Action, 6> child_actions;  ///< the handlers among them, as kOwnedSignals has the signals
  bool waited;             ///< what is deferred now has ended a call that waited with another mask:
  SignalSet waiting_mask;  ///< this one
  siginfo_t filtered;      ///< the program's own filter has refused a call that was made for it
  bool own_call_filtered;  ///< or one that the engine needed; since the trapped call began
  CopyFault copy_fault;    ///< the last one in a handler
  /// Of a signal that a debugger is shown by a second raise: what the first one brought (engine/debugger.h).
  struct {
    std::uint64_t trapno, err, cr2;
    int code, error;
    bool sent;
  } announced;
  bool stop_in_handler;                  ///< a tracer steps into the handler of the signal at hand
  std::atomic<std::uint32_t> kicked_at;  ///< `exits` when the reclaimer `kicked_by` asked
  std::atomic<int> kicked_by;
  arch::LogicalProcessor lp;  ///< not up to date while `fast.stale`; see settle() in fast/recover.h
  StepState step;
  std::uint64_t instructions;  ///< strict mode: of enclave code, executed by this thread, as --inject counts
  std::uint64_t traced;  ///< strict mode: the last instruction in the trace, if it has not been executed yet
  TrappedSite site;
  std::atomic<bool> may_be_inside;  ///< it has entered an enclave once; see ReadWatches
  std::uint32_t watches_seen;       ///< ReadWatches' version that it has joined
  AheadOdds ahead;
  UndefinedEnclus undefined;
};
static_assert(offsetof(ThreadBlock, selector) == BLOCK_SELECTOR);
static_assert(offsetof(ThreadBlock, mask_saved) == BLOCK_MASK_SAVED);
static_assert(offsetof(ThreadBlock, enclave) == BLOCK_ENCLAVE);
static_assert(offsetof(ThreadBlock, deferred) == BLOCK_DEFERRED);
static_assert(offsetof(ThreadBlock, host_fs) == BLOCK_HOST_FS);
static_assert(offsetof(ThreadBlock, host_gs) == BLOCK_HOST_GS);
static_assert(offsetof(ThreadBlock, self) == BLOCK_SELF && offsetof(ThreadBlock, tid) == BLOCK_TID);
static_assert(offsetof(ThreadBlock, host_pkru) == BLOCK_HOST_PKRU);
static_assert(offsetof(ThreadBlock, exits) == BLOCK_EXITS && offsetof(ThreadBlock, inside) == BLOCK_INSIDE);
static_assert(offsetof(ThreadBlock, fast) == BLOCK_FAST);
static_assert(sizeof(ThreadBlock) <= SLOT_SIZE - SLOT_BLOCK);

}  // namespace enclume::engine
