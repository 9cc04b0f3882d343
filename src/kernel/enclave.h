// SPDX-License-Identifier: Apache-2.0
// One enclave as this process sees it: a handle on mappings of the enclave's file.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "arch/epc/epcm.h"
#include "base/errno.h"
#include "base/types.h"
#include "kernel/layout.h"
#include "kernel/page_index.h"
#include "kernel/platform.h"
#include "kernel/shared.h"

namespace enclume::kernel {

/// What tells two enclaves' files apart: st_dev and st_ino.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  friend constexpr bool operator==(FileIdentity, FileIdentity) = default;
};

/// An EpcAddress holds the place in an enclave's EPCM below this bit, the enclave's number above.
inline constexpr unsigned kEpcmIndexBits = 36;

/// Buffers for one ioctl: the one-at-a-time rule makes them safe, and the program's stack may be tiny.
struct IoctlScratch {
  alignas(kPageSize) std::byte page[kPageSize];
};

/// Pages [begin, end).
struct PageWindow {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  [[nodiscard]] constexpr bool empty() const noexcept { return begin >= end; }
  [[nodiscard]] constexpr bool contains(std::uint64_t page) const noexcept {
    return page >= begin && page < end;
  }
};

/// Made and kept by EnclaveTable; its address is good until release, also for lock-free readers.
class Enclave {
 public:
  Enclave() = default;
  Enclave(const Enclave&) = delete;
  Enclave& operator=(const Enclave&) = delete;

  // Signal context: safe, all of these.
  [[nodiscard]] FileIdentity identity() const noexcept {
    return {device_.load(std::memory_order_relaxed), inode_.load(std::memory_order_relaxed)};
  }
  [[nodiscard]] FileHandle file() const noexcept { return file_; }
  [[nodiscard]] EnclaveShared& shared() const noexcept { return *shared_; }
  [[nodiscard]] std::uint32_t number() const noexcept { return number_.load(std::memory_order_relaxed); }
  [[nodiscard]] EnclaveRecord& record() const noexcept { return *record_; }
  /// Counts EPC pages that this process sets aside for the enclave, and those that it uses or gives back, so
  /// that they are known when it dies.
  void count_reserved(std::int64_t pages) const noexcept {
    if (attachment_ != nullptr) {
      attachment_->reserved.fetch_add(static_cast<std::uint64_t>(pages));
    }
  }

  [[nodiscard]] bool created() const noexcept { return has(enclave_flag::kCreated); }
  [[nodiscard]] bool initialized() const noexcept { return has(enclave_flag::kInitialized); }
  [[nodiscard]] bool debug() const noexcept { return has(enclave_flag::kDebug); }
  [[nodiscard]] std::uint64_t base() const noexcept { return shared_->base.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t size() const noexcept { return shared_->size.load(std::memory_order_relaxed); }
  /// [base, base + SIZE); empty before CREATE.
  [[nodiscard]] LinearRange elrange() const noexcept {
    return {LinearAddress(base()), LinearAddress(base() + size())};
  }

  /// Whether the parts that depend on SIZE are mapped here; the functions below need it. False before CREATE,
  /// and after a CREATE by another process until ensure_mapped().
  [[nodiscard]] bool mapped() const noexcept { return mapped_.load(std::memory_order_acquire); }
  /// Maps what another process's CREATE made. Fails if there is no address space. Takes the enclave's lock;
  /// signal context: as OwnerLock.
  [[nodiscard]] SysResult<void> ensure_mapped(Platform&) noexcept;

  [[nodiscard]] const MetadataLayout& layout() const noexcept { return layout_; }
  [[nodiscard]] std::uint64_t pages() const noexcept { return layout_.pages; }
  /// The page number of a linear address; pages() or more if it is outside the enclave.
  [[nodiscard]] std::uint64_t page_number(LinearAddress a) const noexcept {
    return (a.value() - base()) / kPageSize;
  }
  [[nodiscard]] LinearAddress page_address(std::uint64_t page) const noexcept {
    return LinearAddress(base() + page * kPageSize);
  }

  // EPC pages. Each has an entry in the EPCM whether it is valid or not.
  [[nodiscard]] arch::EpcPage epc_page(std::uint64_t page) const noexcept;
  [[nodiscard]] arch::EpcPage secs_page() const noexcept;
  [[nodiscard]] arch::EpcPage va_page(std::uint64_t index) const noexcept;
  /// Any of them by its place in the EPCM; empty beyond the end.
  [[nodiscard]] arch::EpcPage epc_page_at(std::uint64_t epcm_index) const noexcept;
  /// The EPC page that a pointer into our mappings lies in, empty if it is not one.
  [[nodiscard]] arch::EpcPage epc_page_of(const std::byte* alias) const noexcept;

  [[nodiscard]] EnclavePage& page(std::uint64_t page) const noexcept { return page_table_[page]; }
  /// Which pages are present, for walks over sparse enclaves.
  [[nodiscard]] PageIndex& index() noexcept { return index_; }
  [[nodiscard]] const PageIndex& index() const noexcept { return index_; }
  [[nodiscard]] std::atomic<std::uint64_t>* va_slots(std::uint64_t va_page) const noexcept;
  /// The PCMD of an evicted page; `pages()` means the SECS. The ciphertext is where the page was.
  [[nodiscard]] std::byte* pcmd(std::uint64_t page) const noexcept;
  /// A page of the kernel's own, for the one that is just paged. With the lock held.
  [[nodiscard]] std::byte* spare_page() const noexcept { return metadata_ + layout_.spare; }

  [[nodiscard]] IoctlScratch& scratch() const noexcept { return *scratch_; }

  /// A descriptor of the enclave's file that is good now: the one that the program just used. (One of our
  /// own could be closed behind our back.)
  void use_file(FileHandle file) noexcept { file_ = file; }

  /// Pages that have memory although not all of them were added yet. For ioctls, which come one at a time.
  [[nodiscard]] PageWindow populated() const noexcept { return populated_; }
  /// Nothing, once the memory of those that were not added is given back.
  void set_populated(PageWindow window) noexcept;

  /// Whether a page that is not present (index()) has no memory either, and so reads as zeros. With the lock
  /// held, where it may be given any. False for good after a process has died that had read ahead.
  [[nodiscard]] bool is_hole(std::uint64_t page) const noexcept;
  /// The last page whose contents came alone; empty if they came with others.
  PageWindow single;

  /// The protection_epoch up to which the platform has this process's native permissions in order.
  std::atomic<std::uint64_t> protection_seen{0};
  /// The one that a thread of this process is just putting in order; 0: none.
  std::atomic<std::uint64_t> protection_coming{0};
  /// Whether a thread that is about to enter may leave the native permissions to others: all is in order, or
  /// another thread of this process is at the last change. Who enters before that is done is as one who was
  /// inside before: ETRACK, which comes after it, counts him.
  [[nodiscard]] bool protection_settled() const noexcept {
    const std::uint64_t epoch = shared_->protection_epoch.load(std::memory_order_acquire);
    const std::uint64_t coming = protection_coming.load(std::memory_order_acquire);
    const std::uint64_t seen = protection_seen.load(std::memory_order_acquire);
    return seen >= epoch || (coming == epoch && seen + 1 == epoch);
  }

  /// The platform's, private to this process: a byte for each page, or null. Goes with the mappings.
  std::uint8_t* guards = nullptr;
  /// The platform's: the protection key of the pages in this process, 0 before it is chosen.
  std::atomic<std::int8_t> pkey{0};

 private:
  friend class EnclaveTable;
  friend class EnclaveCreation;

  [[nodiscard]] bool has(std::uint32_t flag) const noexcept {
    return (shared_->flags.load(std::memory_order_acquire) & flag) != 0;
  }
  [[nodiscard]] arch::EpcAddress epc_address(std::uint64_t epcm_index) const noexcept {
    return {(std::uint64_t{number()} << kEpcmIndexBits) | epcm_index};
  }
  [[nodiscard]] SysResult<void> map_parts(Platform&, std::uint64_t size) noexcept;
  void unmap_parts(Platform&) noexcept;

  // Atomic because a lock-free search may look at a slot of the table that is changing hands.
  std::atomic<std::uint64_t> device_{0};
  std::atomic<std::uint64_t> inode_{0};
  std::atomic<std::uint32_t> number_{0};
  FileHandle file_;
  EnclaveShared* shared_ = nullptr;
  EnclaveRecord* record_ = nullptr;
  Attachment* attachment_ = nullptr;  ///< null where a child found no room in the table
  std::atomic<bool> mapped_{false};
  MetadataLayout layout_;
  std::byte* epc_ = nullptr;
  std::byte* metadata_ = nullptr;
  arch::EpcmEntry* epcm_ = nullptr;
  EnclavePage* page_table_ = nullptr;
  PageIndex index_;
  PageWindow populated_;
  IoctlScratch* scratch_ = nullptr;
};

}  // namespace enclume::kernel
