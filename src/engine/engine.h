// SPDX-License-Identifier: Apache-2.0
// The one object that ties the engine's parts together. Constant-initialised, set up by start/, never
// destroyed: signals can come until the process is gone.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "arch/machine.h"
#include "base/errno.h"
#include "base/types.h"
#include "engine/inject/injector.h"
#include "engine/signals/actions.h"
#include "engine/signals/held.h"
#include "engine/signals/pkru.h"
#include "engine/stats/stats.h"
#include "engine/threads/arena.h"
#include "trace/stream.h"

extern "C" {
/// In a page with MADV_WIPEONFORK, if there is one yet: 1 (Engine::kProcessKnown) if this is no fresh child
/// of fork. The direct paths read it, too.
extern std::atomic<std::atomic<std::uint32_t>*> enclume_process_known;
}

namespace enclume::engine {

class Sgx;

/// What this machine can do; found once at start, but for the keys.
struct Features {
  bool user_dispatch = false;   ///< PR_SET_SYSCALL_USER_DISPATCH
  bool cpuid_faulting = false;  ///< ARCH_SET_CPUID
  bool pkeys = false;           ///< protection keys: RDPKRU and WRPKRU work
  int epc_pkey = -1;            ///< protection key of EPC pages, -1: none. Before the first enclave, too
  int execute_only_pkey = -1;   ///< of the patched copies of EPC pages: nobody reads or writes these
  bool dear_undefined = false;  ///< a hypervisor is there, which as a rule intercepts #UD
  bool amd = false;             ///< AMD or Hygon: see decode::BranchRule
  bool xgetbv_in_use = false;   ///< XGETBV with ECX = 1
};

class Engine {
 public:
  ThreadArena arena;
  ActionTable actions;
  ProcessHeld process_held;
  Features features;
  std::array<arch::XsaveComponent, 64> xsave_layout{};  ///< as this machine lays out a signal frame
  LinearRange text;                                     ///< the engine's own code
  bool debug = false;                                   ///< check the engine's own state; see self_check.h
  bool secret_lost = false;                             ///< not read, and nobody has been told yet
  bool active = false;                                  ///< set up; front doors pass through until then
  Sgx* sgx = nullptr;                                   ///< the machine; see sgx.h
  trace::Stream events;                                 ///< told by trace/hooks.h
  Stats stats;                                          ///< what `--stats` counts
  Injector injector;                                    ///< what `--inject` asks for
  bool trace_instructions = false;                      ///< events has each instruction of enclave code
  LinearRange gate;                                     ///< the instructions at enclume_system_call
  LinearRange exempt;  ///< system calls from here never trap; see start/gate.h

  /// The slot's alternate stack, as the kernel knows it.
  [[nodiscard]] AltStack signal_stack(const ThreadBlock& block) const;

  /// The calling thread's block, or null if it has none: found by the alternate stack that the kernel knows,
  /// which is the thread's own, as its id is not: ids come back. Signal context: safe.
  [[nodiscard]] ThreadBlock* this_thread() const;

  /// The calling thread's id. Asks the kernel once in a handler: a system call is a good part of what a lock
  /// costs. Signal context: safe.
  [[nodiscard]] int handler_thread_id() const;

  /// Makes the calling thread known: a slot, the kernel's alternate stack, and syscall user dispatch if all
  /// system calls are to be seen. Null if there is no slot left. Signal context: safe (with signals blocked
  /// inside).
  ThreadBlock* register_thread();
  /// The same in a handler whose frame says which alternate stack the program had, and will say ours.
  ThreadBlock* register_thread(UContext& uc);

  /// Whether all system calls that the program makes without libc come in, by SIGSYS.
  [[nodiscard]] static bool sees_raw_calls();
  /// Whether some do: those, or the ones at patched instructions (start/host_code.h).
  [[nodiscard]] static bool sees_some_raw_calls();
  /// From now on they do; the calling thread is the only one yet, and the program a static one, or none.
  /// False if the kernel has no syscall user dispatch. Signal context: unsafe.
  [[nodiscard]] bool watch_raw_calls();

  /// A slot for a thread that is about to be made in this address space, with its parent's mask. Null if
  /// there is none left. adopt_thread() makes the calling thread the one that it is for; its alternate stack
  /// is there already. Signal context: safe.
  ThreadBlock* reserve_thread(const ThreadBlock& parent);
  void adopt_thread(ThreadBlock& block, bool is_thread);

  /// Before the calling thread's first entry into an enclave, whose system calls are to be #UD: syscall user
  /// dispatch, which slows each call of the thread's down, so that others have none. Signal context: safe.
  void watch_enclave_calls(ThreadBlock& block);

  /// The calling thread's block, made if needed.
  ThreadBlock* current_thread();

  /// Moves what the kernel's mask has of the owned signals into the virtual mask: for a thread that begins
  /// with a mask that exec or libc gave it. False if there is no slot left. Signal context: safe.
  bool adopt_kernel_mask();

  /// The process that begins, of which some forks may not be seen. Once, before anything else is used.
  void start_process(bool forks_unseen);

  /// Notices that this process is a forked child and puts what fork copied in order. Cheap when it is not.
  /// Signal context: safe.
  void sync_after_fork() {
    const std::atomic<std::uint32_t>* const state = enclume_process_known.load(std::memory_order_acquire);
    if (state == nullptr ? may_be_unseen_child() : state->load(std::memory_order_acquire) != kProcessKnown)
        [[unlikely]] {
      after_fork();
    }
  }

  /// Before a vfork, and before the process has much that a child of an unseen fork would have to put in
  /// order: maps the page by which sync_after_fork() notices. (Most processes never need it.) False if there
  /// is no memory. Signal context: safe.
  bool expect_fork();

  /// Before a fork that is seen: that, and what the child is to share with this process. Errors: NoMemory;
  /// if it forks all the same, the child's machine is one of its own. Signal context: safe.
  SysResult<void> before_fork();

  /// Whether this is a child that shares its parent's memory, between vfork and exec: what the engine knows
  /// is its parent's, while the kernel's dispositions and mask are its own. Signal context: safe.
  [[nodiscard]] bool in_vfork_child() const;

 private:
  static constexpr std::uint32_t kProcessNew = 0;  ///< what a fresh child finds
  static constexpr std::uint32_t kProcessKnown = 1;
  static constexpr std::uint32_t kProcessBusy = 2;  ///< a thread is putting things in order
  static constexpr std::uint32_t kLeaderMissing =
      3;  ///< in order, but for the slot of the thread that forked

  void arm_user_dispatch(ThreadBlock& block);
  [[nodiscard]] bool may_be_unseen_child() const;
  void after_fork();

  std::atomic<int> pid_{0};
  bool forks_unseen_ = false;
};

Engine& engine();

}  // namespace enclume::engine
