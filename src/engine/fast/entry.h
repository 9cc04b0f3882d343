// SPDX-License-Identifier: Apache-2.0
// The direct paths' assembly as C++ sees it.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/entry/entry.h"
#include "engine/fast/layout.h"

namespace enclume::engine {

extern "C" {

/// How threads that enter directly are told apart (FAST_BY_LIBC, …). Set at start, and cleared for good when
/// something turns up that the direct paths would hide.
extern std::uint8_t enclume_fast_on;
/// From FS base to the engine's thread-local pointer to the thread's block.
extern std::uint64_t enclume_thread_offset;
/// VmaTable's version.
extern const std::atomic<std::uint64_t>* enclume_vmas_version;

/// Addresses in one variant of enter.S, in this order. The assembler fills it in (fast/places.h).
struct EnterPlaces {
  const char* begin;  ///< where the vDSO function goes in place of its ENCLU
  const char* flags;
  const char* frame;
  const char* saved;
  const char* claim;
  const char* claim_done;
  const char* claimed;
  const char* count;
  const char* count_done;
  const char* counted;
  const char* commit;
  const char* fence;  ///< up to here PKRU is the host's
  const char* pop;
  const char* jump;
  const char* end;
  const char* tallied;  ///< counted, and so committed: `commit` is next
  const char* resume_xrstor;
  const char* resume_commit;
  const char* resume_counted;
  const char* resume_fence;    ///< as `fence`
  const char* resume_tally;    ///< from here
  const char* resume_tallied;  ///< to here it is counted: `resume_counted` is next
  const char* resume_end;
  const char* undo;
  const char* undo_claim;
  const char* undo_claimed;
  const char* undo_count;
  const char* undo_inside;
  const char* back;
  const char* back_pop;
  const char* back_jump;
  const char* back_end;
};
static_assert(sizeof(EnterPlaces) == ENTER_PLACES * sizeof(const char*));

/// The same for exit.S.
struct LeavePlaces {
  const char* begin;  ///< where the trampolines of exits lead
  const char* tail;
  const char* block;
  const char* flags;
  const char* spilled;
  const char* compared;
  const char* commit;
  const char* fence;   ///< from here
  const char* fenced;  ///< to here RSI is the path's own
  const char* state;
  const char* freed;
  const char* count;
  const char* counted;
  const char* rcx;
  const char* end;
  const char* tallied;  ///< counted, and so committed: from here
  const char* ticks;
  const char* ticked;  ///< to here `commit` comes yet
  const char* stay_end;
};
static_assert(sizeof(LeavePlaces) == LEAVE_PLACES * sizeof(const char*));

extern const EnterPlaces enclume_enter_places;
extern const EnterPlaces enclume_enter_places_keys;
extern const LeavePlaces enclume_leave_places;
extern const LeavePlaces enclume_leave_places_keys;
}

/// The paths that this machine's threads take: with protection keys each entry and exit loads PKRU.
inline const EnterPlaces& enter_places() {
  return enclume_has_pkeys != 0 ? enclume_enter_places_keys : enclume_enter_places;
}
inline const LeavePlaces& leave_places() {
  return enclume_has_pkeys != 0 ? enclume_leave_places_keys : enclume_leave_places;
}

}  // namespace enclume::engine
