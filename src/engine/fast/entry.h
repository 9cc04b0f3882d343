// SPDX-License-Identifier: Apache-2.0
// The direct paths' assembly as C++ sees it.
#pragma once

#include <atomic>
#include <cstdint>

namespace enclume::engine {

extern "C" {

/// Where the vDSO function goes in place of its ENCLU; see fast/enter.S.
void enclume_fast_enter();

/// 1: threads may enter directly. Set at start, and cleared for good when something turns up that the direct
/// paths would hide.
extern std::uint8_t enclume_fast_on;
/// From FS base to the engine's thread-local pointer to the thread's block.
extern std::uint64_t enclume_thread_offset;
/// VmaTable's version; and the word that says that this process is no fresh child of fork, by being 1.
extern const std::atomic<std::uint64_t>* enclume_vmas_version;
extern const std::atomic<std::uint32_t>* enclume_process_known;

// Addresses in enter.S, in this order.
extern const char enclume_enter_flags[];
extern const char enclume_enter_frame[];
extern const char enclume_enter_saved[];
extern const char enclume_enter_claim[];
extern const char enclume_enter_claim_done[];
extern const char enclume_enter_claimed[];
extern const char enclume_enter_count[];
extern const char enclume_enter_count_done[];
extern const char enclume_enter_counted[];
extern const char enclume_enter_commit[];
extern const char enclume_enter_rcx[];
extern const char enclume_enter_pop[];
extern const char enclume_enter_jump[];
extern const char enclume_enter_end[];
extern const char enclume_enter_tallied[];
extern const char enclume_resume_xrstor[];
extern const char enclume_resume_commit[];
extern const char enclume_resume_counted[];
extern const char enclume_resume_tally[];
extern const char enclume_resume_tallied[];
extern const char enclume_resume_end[];
extern const char enclume_undo[];
extern const char enclume_undo_claim[];
extern const char enclume_undo_claimed[];
extern const char enclume_undo_count[];
extern const char enclume_undo_inside[];
extern const char enclume_back[];
extern const char enclume_back_pop[];
extern const char enclume_back_jump[];
extern const char enclume_back_end[];

/// Where the trampolines of exits lead; see fast/exit.S.
void enclume_fast_exit();

// Addresses in exit.S, in this order.
extern const char enclume_leave_tail[];
extern const char enclume_leave_block[];
extern const char enclume_leave_flags[];
extern const char enclume_leave_spilled[];
extern const char enclume_leave_compared[];
extern const char enclume_leave_commit[];
extern const char enclume_leave_state[];
extern const char enclume_leave_freed[];
extern const char enclume_leave_count[];
extern const char enclume_leave_counted[];
extern const char enclume_leave_rcx[];
extern const char enclume_leave_end[];
extern const char enclume_leave_tallied[];
extern const char enclume_leave_ticks[];
extern const char enclume_leave_ticked[];
extern const char enclume_stay_end[];
}

}  // namespace enclume::engine
