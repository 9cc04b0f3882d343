// SPDX-License-Identifier: Apache-2.0
// What a thread knows of the TCSs that it has entered by, so that it can enter again without a trap.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "arch/epc/epcm.h"
#include "arch/epc/tracking.h"
#include "arch/logical_processor.h"
#include "arch/structs/ssa.h"
#include "arch/structs/tcs.h"
#include "engine/fast/layout.h"
#include "engine/signals/pkru.h"
#include "engine/stats/layout.h"

namespace enclume::engine {

/// A word of memory and what it was when all of EENTER's checks passed.
struct SeenWord {
  const std::atomic<std::uint32_t>* at = nullptr;
  std::uint32_t value = 0;
};

/// One TCS with one of its SSA frames, as EENTER's checks found them, and each word that the checks depend
/// on. While these words are as they were, EENTER would find the same again.
struct alignas(64) FastDoor {
  std::uint64_t tcs = 0;   ///< linear address, 0: an empty entry (no TCS is at 0 in what is cached)
  std::uint64_t secs = 0;  ///< for ThreadBlock::inside
  arch::Tcs* page = nullptr;
  std::uint64_t* tracking = nullptr;  ///< its stripe of the SECS
  std::uint64_t vmas = 0;             ///< VmaTable::version()
  const std::atomic<std::uint64_t>* protection_at = nullptr;
  std::uint64_t protection = 0;  ///< EnclaveShared::protection_epoch
  std::uint64_t flags = 0;       ///< from here to ogsbase: of the TCS
  std::uint64_t ossa = 0;
  std::uint32_t cssa = 0;
  std::uint32_t nssa = 0;
  std::uint64_t oentry = 0;
  std::uint64_t ofsbase = 0;
  std::uint64_t ogsbase = 0;
  arch::EpcmEntry* epcm = nullptr;   ///< of the TCS
  std::uint32_t epcm_state = 0;      ///< its state,
  std::uint32_t epcm_unlocked = 0;   ///< and its lock, which nobody may hold
  std::array<SeenWord, 3> pages{};   ///< EnclavePage::word of the TCS and of the SSA frame's one or two pages
  std::array<SeenWord, 2> frames{};  ///< EpcmEntry::state of the latter
  std::uint64_t entry = 0;           ///< linear address of OENTRY
  std::uint64_t fs = 0;
  std::uint64_t gs = 0;
  std::byte* gpr = nullptr;         ///< GPRSGX of the frame
  std::byte* xsave = nullptr;       ///< its XSAVE area; null: ERESUME has to be trapped
  std::uint64_t xfrm = 0;           ///< of the enclave
  std::uint64_t base = 0;           ///< of ELRANGE
  std::uint64_t elrange_size = 0;   ///< bytes
  FastDoor* other = nullptr;        ///< the TCS's door with its other frame, if it is that TCS's
  const std::byte* pkru = nullptr;  ///< in that area; null: the enclave's XFRM has none
  Pkru closed = 0;                  ///< all but the bits of PKRU for the key of the enclave's pages
  arch::LogicalProcessor lp{};
};
static_assert(sizeof(FastDoor) == DOOR_SIZE);
static_assert(offsetof(FastDoor, tcs) == DOOR_TCS && offsetof(FastDoor, secs) == DOOR_SECS);
static_assert(offsetof(FastDoor, page) == DOOR_PAGE && offsetof(FastDoor, tracking) == DOOR_TRACKING);
static_assert(offsetof(FastDoor, vmas) == DOOR_VMAS && offsetof(FastDoor, flags) == DOOR_FLAGS);
static_assert(offsetof(FastDoor, protection_at) == DOOR_PROTECTION_AT);
static_assert(offsetof(FastDoor, protection) == DOOR_PROTECTION && offsetof(FastDoor, ossa) == DOOR_OSSA);
static_assert(offsetof(FastDoor, cssa) == DOOR_CSSA && offsetof(FastDoor, oentry) == DOOR_OENTRY);
static_assert(offsetof(FastDoor, ofsbase) == DOOR_OFSBASE && offsetof(FastDoor, ogsbase) == DOOR_OGSBASE);
static_assert(offsetof(FastDoor, epcm) == DOOR_EPCM && offsetof(FastDoor, epcm_state) == DOOR_EPCM_WORD);
static_assert(offsetof(FastDoor, pages) == DOOR_PAGES && offsetof(FastDoor, frames) == DOOR_SSA_EPCM);
static_assert(offsetof(FastDoor, entry) == DOOR_ENTRY && offsetof(FastDoor, fs) == DOOR_FS);
static_assert(offsetof(FastDoor, gs) == DOOR_GS && offsetof(FastDoor, gpr) == DOOR_GPR);
static_assert(offsetof(FastDoor, xsave) == DOOR_XSAVE && offsetof(FastDoor, xfrm) == DOOR_XFRM);
static_assert(offsetof(FastDoor, base) == DOOR_BASE && offsetof(FastDoor, elrange_size) == DOOR_LIMIT);
static_assert(offsetof(FastDoor, other) == DOOR_OTHER && offsetof(FastDoor, pkru) == DOOR_PKRU);
static_assert(offsetof(FastDoor, closed) == DOOR_CLOSED);
static_assert(sizeof(SeenWord) == 16 && offsetof(SeenWord, value) == 8);

static_assert(offsetof(arch::Tcs, state) == TCS_STATE && offsetof(arch::Tcs, flags) == TCS_FLAGS);
static_assert(offsetof(arch::Tcs, ossa) == TCS_OSSA && offsetof(arch::Tcs, cssa) == TCS_CSSA);
static_assert(offsetof(arch::Tcs, oentry) == TCS_OENTRY && offsetof(arch::Tcs, aep) == TCS_AEP);
static_assert(offsetof(arch::Tcs, ofsbase) == TCS_OFSBASE && offsetof(arch::Tcs, ogsbase) == TCS_OGSBASE);
static_assert(offsetof(arch::EpcmEntry, state) == 0 && offsetof(arch::EpcmEntry, lock) == 4);
static_assert(offsetof(arch::EpcmEntry, owner) == EPCM_OWNER);
static_assert(offsetof(arch::Gprsgx, ursp) == GPRSGX_URSP && offsetof(arch::Gprsgx, urbp) == GPRSGX_URBP);
static_assert(arch::tracking_word::kEpochBits == TRACKING_EPOCH_BITS);
static_assert(arch::tracking_word::kCountBits == TRACKING_COUNT_BITS);

/// What IRETQ pops.
struct ResumeFrame {
  std::uint64_t rip = 0;
  std::uint64_t cs = 0;
  std::uint64_t rflags = 0;
  std::uint64_t rsp = 0;
  std::uint64_t ss = 0;
};

/// The part of a thread's block that the direct paths work with.
struct FastThread {
  std::uint64_t fs = 0;          ///< FS base under which the thread was seen to enter
  std::uint64_t stack_low = 0;   ///< stack pointers with which it was; see admit_thread()
  std::uint64_t stack_size = 0;  ///< 0: it may not enter directly
  FastDoor* door = nullptr;      ///< inside: by this one; null outside, and where the exit has to be trapped
  std::uint64_t one = 0;         ///< what it counts for in the SECS's tracking word
  std::uint32_t epoch = 0;       ///< the tracking epoch that it entered in
  std::uint8_t stale = 0;        ///< a direct path has entered or left since ThreadBlock::lp was written
  std::uint64_t rcx = 0;         ///< on the way out: registers that it needs, flags by LAHF and SETO
  std::uint64_t rdx = 0;
  std::uint64_t flags = 0;
  std::uint64_t tail = 0;           ///< of the trampoline
  bool shared = false;              ///< another thread has the same FS base: neither enters directly
  bool descriptor = false;          ///< the kernel knows the thread by its slot: fast/thread_descriptor.h
  std::uint32_t es = 0;             ///< the selector that is this thread's, 0: none
  DirectCounts* counts = nullptr;   ///< for --stats; null: nothing is counted
  std::uint64_t entered_at = 0;     ///< an enclave, by the time-stamp counter, where something is counted
  std::uint32_t trapped_exits = 0;  ///< EEXITs
  bool forked = false;              ///< no entry yet since this process was forked
  ResumeFrame resume;               ///< ERESUME: where the enclave goes on, read from its frame once
  std::uint64_t resume_fs = 0;
  std::uint64_t resume_gs = 0;
  /// The thread holds a page for an instruction that has been trapped (TrappedSite), which ERESUME may
  /// release.
  std::uint64_t held = 0;
  std::uint64_t rsi = 0;  ///< on the way out, while PKRU is loaded
  /// By pairs: those of a TCS are side by side, for even frames and for odd ones. An exception that the
  /// enclave handles itself needs both.
  alignas(64) std::array<FastDoor, 2 << DOOR_TCSS_LOG2> doors{};

  [[nodiscard]] static std::size_t door_of(std::uint64_t tcs, std::uint32_t frame) {
    return (static_cast<std::uint32_t>(tcs >> 12) * DOOR_HASH) >> (32 - DOOR_TCSS_LOG2) << 1 | (frame & 1);
  }
};
static_assert(offsetof(FastThread, fs) == FAST_FS && offsetof(FastThread, stack_low) == FAST_STACK_LOW);
static_assert(offsetof(FastThread, stack_size) == FAST_STACK_SIZE && offsetof(FastThread, door) == FAST_DOOR);
static_assert(offsetof(FastThread, one) == FAST_ONE && offsetof(FastThread, epoch) == FAST_EPOCH);
static_assert(offsetof(FastThread, stale) == FAST_STALE && offsetof(FastThread, rcx) == FAST_RCX);
static_assert(offsetof(FastThread, rdx) == FAST_RDX && offsetof(FastThread, flags) == FAST_FLAGS);
static_assert(offsetof(FastThread, tail) == FAST_TAIL && offsetof(FastThread, es) == FAST_ES);
static_assert(offsetof(FastThread, counts) == FAST_COUNTS);
static_assert(offsetof(FastThread, entered_at) == FAST_ENTERED_AT);
static_assert(offsetof(FastThread, resume) == FAST_RESUME && sizeof(ResumeFrame) == 40);
static_assert(offsetof(FastThread, resume_fs) == FAST_RESUME_FS);
static_assert(offsetof(FastThread, resume_gs) == FAST_RESUME_GS);
static_assert(offsetof(FastThread, held) == FAST_HELD && offsetof(FastThread, rsi) == FAST_RSI);
static_assert(arch::tcs_flags::kAexNotify == TCS_AEXNOTIFY);
static_assert(kPkruComponent == PKRU_COMPONENT && kKeyZero == PKRU_KEY_ZERO);
static_assert(offsetof(FastThread, doors) == FAST_DOORS);

static_assert(offsetof(DirectCounts, eenter) == COUNT_EENTER &&
              offsetof(DirectCounts, eresume) == COUNT_ERESUME);
static_assert(offsetof(DirectCounts, eexit) == COUNT_EEXIT &&
              offsetof(DirectCounts, ticks_inside) == COUNT_TICKS);

}  // namespace enclume::engine
