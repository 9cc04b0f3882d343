// SPDX-License-Identifier: Apache-2.0
// The assembly that stands between the kernel's signal frames and C++.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/entry/layout.h"
#include "engine/signals/frame.h"

namespace enclume::engine {

struct ThreadBlock;

/// What the entry code found before any C++ ran.
struct EntryFacts {
  std::uint64_t enclave;  ///< 1: enclave code was interrupted
  std::uint64_t fs;       ///< its FS base
  std::uint64_t gs;
};
static_assert(offsetof(EntryFacts, enclave) == FACTS_ENCLAVE && offsetof(EntryFacts, fs) == FACTS_FS);
static_assert(offsetof(EntryFacts, gs) == FACTS_GS && sizeof(EntryFacts) == FACTS_SIZE);

/// How to leave the handler.
struct ExitPlan {
  SignalFrame* frame;     ///< rt_sigreturn reads this one
  std::uint64_t enclave;  ///< 1: to enclave code, with these bases
  std::uint64_t fs;
  std::uint64_t gs;
  std::uint64_t flags;    ///< RFLAGS.ID and NT, which rt_sigreturn leaves alone
  std::uint64_t handler;  ///< nonzero: run this handler of the program on the frame as it stands
  std::uint64_t nested;   ///< 1: back into the engine's own code
  std::uint64_t mask;     ///< of a thread that has no slot: the kernel's mask as the handler began
};
static_assert(offsetof(ExitPlan, frame) == PLAN_FRAME && offsetof(ExitPlan, enclave) == PLAN_ENCLAVE);
static_assert(offsetof(ExitPlan, fs) == PLAN_FS && offsetof(ExitPlan, gs) == PLAN_GS);
static_assert(offsetof(ExitPlan, flags) == PLAN_FLAGS && offsetof(ExitPlan, handler) == PLAN_HANDLER);
static_assert(offsetof(ExitPlan, nested) == PLAN_NESTED && offsetof(ExitPlan, mask) == PLAN_MASK);
static_assert(sizeof(ExitPlan) <= PLAN_SIZE);

extern "C" {

/// The kernel-level handler of every signal that the engine owns.
void enclume_signal_entry();
/// The restorer of every frame that a program's handler returns through.
void enclume_restorer();

/// The arena's bounds, for the entry code.
extern std::uint64_t enclume_arena_begin;
extern std::uint64_t enclume_arena_size;
/// 1 if RDPKRU and WRPKRU work, and the bits of PKRU that close the EPC's keys, of which there come more with
/// further enclaves. This is all that is closed while the handlers' C++ runs.
extern std::uint8_t enclume_has_pkeys;
extern std::uint32_t enclume_epc_fence;
/// PKRU as the kernel gives it to a handler, once there has been a signal.
extern std::uint32_t enclume_handler_pkru;

/// What the selector of syscall user dispatch is while host code runs: SELECTOR_BLOCK if system calls that
/// are made without libc are to be seen.
extern std::uint8_t enclume_host_selector;

// Addresses in the assembly.
extern const char enclume_exit_begin[];  ///< the roll-back point of the exit sequence
extern const char enclume_exit_end[];
extern const char enclume_own_gate[];  ///< SYSCALL, RET; see base/syscall.h
extern const char enclume_copy_fault_begin[];
extern const char enclume_copy_fault_end[];
extern const char enclume_copy_fixup[];

/// Copies bytes between memory that may be anything; returns how many were not copied. A fault on either
/// side ends it (signals/handler.cc knows the instruction). Signal context: safe.
std::size_t enclume_guarded_copy(void* to, const void* from, std::size_t size);

// C++ called by the assembly.
void enclume_on_signal(int signo, siginfo_t* info, UContext* uc, ThreadBlock* block, EntryFacts* facts,
                       ExitPlan* plan);
void enclume_on_unregistered_signal(int signo, siginfo_t* info, UContext* uc, ExitPlan* plan);
void enclume_take_frame(const SignalFrame* from, ExitPlan* plan, EntryFacts* facts);
void enclume_on_deferred(ThreadBlock* block, ExitPlan* plan);
void enclume_before_sigreturn(SignalFrame* frame);
}

}  // namespace enclume::engine
