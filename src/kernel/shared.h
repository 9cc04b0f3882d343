// SPDX-License-Identifier: Apache-2.0
// State that processes share: one KernelShared a machine, one EnclaveShared an enclave. All-zero memory is
// the fresh state of both.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "arch/epc/epcm.h"
#include "arch/machine.h"
#include "base/lock.h"
#include "kernel/layout.h"
#include "kernel/protection.h"

namespace enclume::kernel {

/// What the kernel knows of one enclave page, as one word (Linux: `struct sgx_encl_page`).
struct PageState {
  Protection max_prot;     ///< vm_max_prot_bits
  bool present = false;    ///< the enclave has this page, in the EPC or evicted
  bool resident = false;   ///< in the EPC (Linux: epc_page != NULL)
  bool aged = false;       ///< the reclaimer took its native permissions to see whether it is used
  bool untouched = false;  ///< no PTE: the next touch is a page fault, which maps it
  arch::PageType type = arch::PageType::Secs;

  [[nodiscard]] constexpr std::uint32_t pack() const {
    return max_prot.bits() | (present ? 8U : 0U) | (resident ? 16U : 0U) | (aged ? 32U : 0U) |
           (untouched ? 64U : 0U) | (static_cast<std::uint32_t>(type) << 8);
  }
  [[nodiscard]] static constexpr PageState unpack(std::uint32_t w) {
    return {Protection::of(w), (w & 8) != 0,  (w & 16) != 0,
            (w & 32) != 0,     (w & 64) != 0, static_cast<arch::PageType>((w >> 8) & 0xff)};
  }
  friend constexpr bool operator==(const PageState&, const PageState&) = default;
};

/// An entry of the page table. Written under the enclave's lock (`aged` is also cleared, and `untouched` set,
/// without it, by a compare-and-swap), read anywhere.
struct EnclavePage {
  std::atomic<std::uint32_t> word;     ///< PageState::pack()
  std::atomic<std::uint32_t> va_slot;  ///< evicted: version's place, VA page * 512 + slot, plus 1

  [[nodiscard]] PageState load() const noexcept {
    return PageState::unpack(word.load(std::memory_order_acquire));
  }
  void store(PageState s) noexcept { word.store(s.pack(), std::memory_order_release); }
};
static_assert(sizeof(EnclavePage) == 8);

namespace enclave_flag {  // Linux: enum sgx_encl_flags
inline constexpr std::uint32_t kDebug = 1;
inline constexpr std::uint32_t kCreated = 2;
inline constexpr std::uint32_t kInitialized = 4;
}  // namespace enclave_flag

/// What is being done to a page, for whoever finds that who did it is dead (kernel/paging_journal.h).
struct PagingJournal {
  std::atomic<std::uint32_t> what;  ///< 0: nothing
  std::atomic<std::uint64_t> page;
  std::atomic<std::uint64_t> slot;     ///< of the version arrays
  std::atomic<std::uint64_t> version;  ///< what it holds, if the page is being loaded
};

/// The header of an enclave's file, at kMetadataOffset.
struct EnclaveShared {
  std::atomic<std::uint64_t> magic;       ///< kEnclaveMagic once a process has set the header up
  std::atomic<std::uint64_t> machine;     ///< from the boot nonce: an enclave can't move to another machine
  std::atomic<std::int64_t> segment;      ///< KernelShared::segment of the machine
  std::atomic<std::uint32_t> number;      ///< unique on this machine, from 1
  OwnerLock lock;                         ///< Linux: encl->lock
  std::atomic<std::int32_t> ioctl_owner;  ///< thread inside an ioctl, 0: none (Linux: SGX_ENCL_IOCTL)
  std::atomic<std::uint32_t> flags;       ///< enclave_flag
  std::atomic<std::uint64_t> base;
  std::atomic<std::uint64_t> size;
  std::atomic<std::uint64_t> attributes;
  std::atomic<std::uint64_t> attributes_mask;
  std::atomic<std::uint64_t> page_count;     ///< SECS and pages, resident or not (Linux: page_cnt)
  std::atomic<std::uint64_t> secs_children;  ///< resident pages (Linux: secs_child_cnt)
  std::atomic<std::uint64_t> va_pages;
  std::atomic<std::uint64_t> va_hint;  ///< VA page where the search for a free slot begins
  EnclavePage secs;
  /// Reclaim: the hand that ages and the hand that evicts, as page numbers.
  std::atomic<std::uint64_t> aging_hand;
  std::atomic<std::uint64_t> evicting_hand;
  std::atomic<std::uint64_t> aging_lead;  ///< pages that the first is ahead of the second
  std::atomic<std::uint64_t> islands;     ///< pages that were touched first of their neighbours
  std::atomic<std::uint64_t> windows;     ///< how often Enclave::populated() is not empty, or may be
  /// Moves before native permissions must shrink anywhere. A process whose last look is older calls
  /// ProtectionRuns over its VMAs of the enclave before it lets a thread in.
  std::atomic<std::uint64_t> protection_epoch;
  PagingJournal journal;

  /// EPC pages that the enclave holds.
  [[nodiscard]] std::uint64_t epc_pages() const noexcept {
    return secs_children.load() + va_pages.load() + (secs.load().resident ? 1 : 0);
  }
};
static_assert(sizeof(EnclaveShared) <= kHeaderLength);
inline constexpr std::uint64_t kEnclaveMagic = 0x31656d756c636e65;  // "enclume1"

/// An enclave that some process uses.
struct EnclaveRecord {
  std::atomic<std::uint32_t> number;  ///< 0: free
  std::atomic<std::uint32_t>
      unheard;  ///< how often its processes need not be asked for pages: none has answered
  std::atomic<std::uint64_t> epc_pages;
};

/// One process that uses one enclave (Linux: `struct sgx_encl_mm`).
struct Attachment {
  std::atomic<std::uint32_t> number;  ///< 0: free
  std::atomic<std::int32_t> process;
  std::atomic<std::uint64_t> reserved;  ///< EPC pages that its threads have set aside for the enclave
  std::atomic<bool> forked;             ///< the process has executed no program since it was forked
};

inline constexpr std::size_t kMaxEnclaves = 1024;
inline constexpr std::size_t kMaxAttachments = 8192;

/// One machine, shared by a tree of processes, and by whom one of them hands an enclave to.
struct KernelShared {
  arch::MachineShared machine;
  std::atomic<std::int64_t> segment;     ///< what other processes can find it by, 0: nothing
  std::atomic<std::uint64_t> epc_total;  ///< pages; set once before the first enclave
  std::atomic<std::uint64_t> epc_used;
  std::atomic<std::uint64_t> evictions;  ///< how many pages have been, of all enclaves
  std::atomic<std::uint32_t> sweeps;     ///< for dead processes
  std::atomic<std::uint32_t> last_number;
  OwnerLock lock;  ///< guards the two tables
  std::array<EnclaveRecord, kMaxEnclaves> enclaves;
  std::array<Attachment, kMaxAttachments> attachments;
  std::atomic<std::uint32_t> attachments_end;  ///< those from here on have never been used
};

}  // namespace enclume::kernel
