// SPDX-License-Identifier: Apache-2.0
// The one object that ties the engine's parts together. Constant-initialised, set up by start/, never
// destroyed: signals can come until the process is gone.
#pragma once

#include <array>
#include <cstdint>

#include "arch/machine.h"
#include "base/types.h"
#include "engine/signals/actions.h"
#include "engine/signals/pkru.h"
#include "engine/threads/arena.h"
#include "trace/stream.h"

namespace enclume::engine {

class Sgx;

/// What this machine can do; found once at start.
struct Features {
  bool fsgsbase = false;
  bool user_dispatch = false;   ///< PR_SET_SYSCALL_USER_DISPATCH
  bool cpuid_faulting = false;  ///< ARCH_SET_CPUID
  bool pkeys = false;           ///< protection keys: RDPKRU and WRPKRU work
  int epc_pkey = -1;            ///< protection key of EPC pages, -1: none
  int execute_only_pkey = -1;   ///< of the patched copies of EPC pages: nobody reads or writes these
  bool amd = false;             ///< AMD or Hygon: see decode::BranchRule
  bool xgetbv_in_use = false;   ///< XGETBV with ECX = 1
};

class Engine {
 public:
  ThreadArena arena;
  ActionTable actions;
  Features features;
  std::array<arch::XsaveComponent, 64> xsave_layout{};  ///< as this machine lays out a signal frame
  Pkru default_pkru = 0;                                ///< what the kernel gives to a handler
  LinearRange text;                                     ///< the engine's own code
  bool debug = false;                                   ///< check the engine's own state; see self_check.h
  bool active = false;                                  ///< set up; front doors pass through until then
  Sgx* sgx = nullptr;                                   ///< the machine; see sgx.h
  trace::Stream events;                                 ///< told by trace/hooks.h
  bool trace_instructions = false;                      ///< events has each instruction of enclave code

  /// The slot's alternate stack, as the kernel knows it.
  [[nodiscard]] AltStack signal_stack(const ThreadBlock& block) const;

  /// Makes the calling thread known: a slot, the kernel's alternate stack, syscall user dispatch.
  /// Null if there is no slot left. Signal context: safe (with signals blocked inside).
  ThreadBlock* register_thread();

  /// The calling thread's block, made if needed.
  ThreadBlock* current_thread();

  /// Notices that this process is a forked child and puts what fork copied in order. Cheap when it is not.
  /// Signal context: safe.
  void sync_after_fork();

  /// Maps the page by which sync_after_fork() notices.
  bool init_fork_detection();

 private:
  void arm_user_dispatch(ThreadBlock& block);
  void after_fork();

  volatile std::uint32_t* same_process_ = nullptr;  ///< MADV_WIPEONFORK: zero in a fresh child
};

Engine& engine();

}  // namespace enclume::engine
