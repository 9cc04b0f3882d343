// SPDX-License-Identifier: Apache-2.0
// The Enclave Page Cache Map: one entry for each EPC page, and what an access to the page may do.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace enclume::arch {

/// PAGE_TYPE of SECINFO and EPCM (SDM Vol. 3D, "SECINFO.FLAGS.PAGE_TYPE").
enum class PageType : std::uint8_t {
  Secs = 0,
  Tcs = 1,
  Reg = 2,
  Va = 3,
  Trim = 4,
  SsFirst = 5,
  SsRest = 6,
};

/// The name of an EPC page that every process can use: not a pointer, not a linear address. The platform
/// (engine or test) chooses the numbering; 0 names no page.
struct EpcAddress {
  std::uint64_t value = 0;
  friend constexpr auto operator<=>(EpcAddress, EpcAddress) = default;
  explicit constexpr operator bool() const { return value != 0; }
};

/// The state of an EPC page as one word, so that it is read and changed at once.
struct EpcmState {
  bool valid = false;
  bool r = false;
  bool w = false;
  bool x = false;
  bool blocked = false;
  bool pending = false;
  bool modified = false;
  bool pr = false;
  PageType type = PageType::Secs;

  [[nodiscard]] constexpr std::uint32_t pack() const {
    return (valid ? 1U : 0U) | (r ? 2U : 0U) | (w ? 4U : 0U) | (x ? 8U : 0U) | (blocked ? 16U : 0U) |
           (pending ? 32U : 0U) | (modified ? 64U : 0U) | (pr ? 128U : 0U) |
           (static_cast<std::uint32_t>(type) << 8);
  }
  [[nodiscard]] static constexpr EpcmState unpack(std::uint32_t word) {
    return {(word & 1) != 0,  (word & 2) != 0,   (word & 4) != 0,
            (word & 8) != 0,  (word & 16) != 0,  (word & 32) != 0,
            (word & 64) != 0, (word & 128) != 0, static_cast<PageType>((word >> 8) & 0xff)};
  }
  friend constexpr bool operator==(const EpcmState&, const EpcmState&) = default;
};

/// One EPCM entry. Lives in memory shared between the processes that share the enclave; all-zero memory
/// is an invalid (free) page.
struct EpcmEntry {
  std::atomic<std::uint32_t> state;            ///< EpcmState::pack()
  std::atomic<std::uint32_t> lock;             ///< an SGX instruction works on the page (0: none)
  std::atomic<std::uint64_t> enclave_secs;     ///< EpcAddress of the SECS
  std::atomic<std::uint64_t> enclave_address;  ///< linear address that the page was added for
  std::atomic<std::uint32_t> blocked_epoch;    ///< tracking epoch when BLOCKED (or permissions) was set
  std::atomic<std::uint32_t> owner;            ///< TCS: platform's id of the thread that is inside, else 0

  [[nodiscard]] EpcmState load() const noexcept {
    return EpcmState::unpack(state.load(std::memory_order_acquire));
  }
  void store(EpcmState s) noexcept { state.store(s.pack(), std::memory_order_release); }
};
static_assert(sizeof(EpcmEntry) == 32, "0.8 % of the page that it describes");

/// An EPC page at hand: its entry, its contents as the processor sees them, its name.
struct EpcPage {
  EpcmEntry* epcm = nullptr;
  std::byte* data = nullptr;  ///< 4096 bytes, page aligned
  EpcAddress address{};

  explicit operator bool() const { return epcm != nullptr; }
};

/// The contents of a page that has no memory yet, where an address space says so: zeros, which nobody may
/// write to. EAUG finds its work done.
alignas(kPageSize) inline constexpr std::array<std::byte, kPageSize> kZeroPage{};

/// EpcmEntry::lock while a power transition takes the page.
inline constexpr std::uint32_t kBeingLost = 3;
/// EpcmEntry::lock while EBLOCK or EWB works on the page, with which EACCEPT and its kin are in no conflict
/// (SDM Vol. 3D, "Base Concurrency Restrictions": they are "Concurrent" with these).
inline constexpr std::uint32_t kBeingEvicted = 5;

/// Exclusive use of a page by one SGX instruction: never waits; a conflict is an architectural result.
/// EpcmEntry::lock is 0, or 1 for the one exclusive user, or twice the number of shared users, or kBeingLost,
/// or kBeingEvicted.
class EpcPageLock {
 public:
  explicit EpcPageLock(const EpcPage& page, std::uint32_t as = 1) noexcept : entry_(page.epcm) {
    if (!entry_->lock.compare_exchange_strong(seen_, as, std::memory_order_acquire)) {
      entry_ = nullptr;
    }
  }
  ~EpcPageLock() {
    if (entry_ != nullptr) {
      entry_->lock.store(0, std::memory_order_release);
    }
  }
  EpcPageLock(const EpcPageLock&) = delete;
  EpcPageLock& operator=(const EpcPageLock&) = delete;
  [[nodiscard]] explicit operator bool() const noexcept { return entry_ != nullptr; }
  /// Not held because of a power transition, which is no conflict of two SGX instructions: the page is lost.
  [[nodiscard]] bool lost() const noexcept { return seen_ == kBeingLost; }
  /// Not held because the page is about to be lost or blocked: to the leaf it is that already.
  [[nodiscard]] bool going() const noexcept { return lost() || seen_ == kBeingEvicted; }

 private:
  EpcmEntry* entry_;
  std::uint32_t seen_ = 0;
};

/// Use of a page together with other shared users (the SECS of an EADD, the version array of an EWB, …):
/// keeps an exclusive user away. Never waits.
class EpcPageSharedLock {
 public:
  explicit EpcPageSharedLock(const EpcPage& page) noexcept : entry_(page.epcm) {
    std::uint32_t users = entry_->lock.load(std::memory_order_relaxed);
    do {
      if ((users & 1) != 0) {
        entry_ = nullptr;
        return;
      }
    } while (!entry_->lock.compare_exchange_weak(users, users + 2, std::memory_order_acquire));
  }
  ~EpcPageSharedLock() {
    if (entry_ != nullptr) {
      entry_->lock.fetch_sub(2, std::memory_order_release);
    }
  }
  EpcPageSharedLock(const EpcPageSharedLock&) = delete;
  EpcPageSharedLock& operator=(const EpcPageSharedLock&) = delete;
  [[nodiscard]] explicit operator bool() const noexcept { return entry_ != nullptr; }

 private:
  EpcmEntry* entry_;
};

}  // namespace enclume::arch
