// SPDX-License-Identifier: Apache-2.0
// The mappings of enclaves in this process (Linux: VMAs whose vm_ops are sgx_vm_ops).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/errno.h"
#include "base/lock.h"
#include "base/types.h"
#include "kernel/enclave.h"
#include "kernel/platform.h"
#include "kernel/protection.h"

namespace enclume::kernel {

struct Vma {
  LinearRange range;
  Protection prot;      ///< VM_READ, VM_WRITE, VM_EXEC
  Protection may_prot;  ///< VM_MAYREAD, VM_MAYWRITE, VM_MAYEXEC
  Enclave* enclave = nullptr;
  unsigned pkey = 0;  ///< VM_PKEY_BIT0 to BIT3: what pkey_mprotect(2) gave it

  friend bool operator==(const Vma&, const Vma&) = default;
};

/// Sorted, disjoint ranges. Split as Linux splits VMAs; never merged, because Linux does not merge VM_PFNMAP
/// ones. Private to the process; fork copies it with everything else.
///
/// Readers take no lock and never wait for a writer that sleeps: they retry only when a new version was
/// published meanwhile. Writers hold a Writer, with signals blocked.
class VmaTable {
 public:
  explicit VmaTable(Platform& platform) noexcept : platform_(platform) {}
  VmaTable(const VmaTable&) = delete;
  VmaTable& operator=(const VmaTable&) = delete;

  /// The VMA that holds `address`. Signal context: safe.
  [[nodiscard]] std::optional<Vma> find(LinearAddress address) const noexcept;
  /// The first VMA that ends after `address`: for walks over a range (Linux: find_vma). Signal context: safe.
  [[nodiscard]] std::optional<Vma> find_from(LinearAddress address) const noexcept;
  /// Whether any VMA overlaps the range. Signal context: safe.
  [[nodiscard]] bool overlaps(LinearRange range) const noexcept;
  /// Whether the enclave has any VMA here: at once if one is where ELRANGE begins, else by looking at all.
  /// Signal context: safe.
  [[nodiscard]] bool maps(const Enclave& enclave) const noexcept;
  /// How many VMAs the enclave has here. Signal context: safe.
  [[nodiscard]] std::size_t count(const Enclave& enclave) const noexcept;
  [[nodiscard]] std::size_t size() const noexcept;

  /// Goes up with each change. Signal context: safe.
  [[nodiscard]] std::uint64_t version() const noexcept { return version_.load(std::memory_order_acquire); }
  /// The word that holds it, for who can't call.
  [[nodiscard]] const std::atomic<std::uint64_t>& version_word() const noexcept { return version_; }

 private:
  struct Entry {
    std::atomic<std::uint64_t> begin;
    std::atomic<std::uint64_t> end;
    std::atomic<Enclave*> enclave;
    std::atomic<std::uint32_t> prots;

    [[nodiscard]] Vma load() const noexcept;
    void store(const Vma&) noexcept;
  };
  struct Snapshot {
    std::size_t capacity = 0;
    std::atomic<std::size_t> count{0};
    Entry* entries = nullptr;

    [[nodiscard]] std::size_t first_ending_after(LinearAddress address, std::size_t count) const noexcept;
  };
  class Draft;

 public:
  /// The right to change the table (Linux: mmap_lock held for writing). Held from the check to the change,
  /// around the native system call between them.
  class Writer {
   public:
    Writer(VmaTable& table, int thread) noexcept : table_(table), guard_(table.lock_, thread) {}

    /// Adds a VMA over a range where the table has none (remove() first for MAP_FIXED).
    /// Errors: NoMemory, and the table is unchanged.
    [[nodiscard]] SysResult<void> insert(const Vma& vma) noexcept;
    /// munmap, MAP_FIXED over it, the source of mremap: cuts the range out, splitting at its ends.
    /// Errors: NoMemory (a split that finds no room), and the table is unchanged.
    [[nodiscard]] SysResult<void> remove(LinearRange range) noexcept;
    /// Both at once, for MAP_FIXED: who looks finds what was there or what is there. Errors: as remove().
    [[nodiscard]] SysResult<void> replace(const Vma& vma) noexcept;
    /// Sets `prot` on what the range covers, and the protection key if one is given, splitting at its ends.
    /// Errors: as remove().
    [[nodiscard]] SysResult<void> protect(LinearRange range, Protection prot,
                                          std::optional<unsigned> pkey = {}) noexcept;
    /// Makes the table what it was before this Writer's last change. Not twice in a row.
    void undo() noexcept;
    /// f(vma) for what the range covered before this Writer's last change; cut to the range.
    template <typename F>
    void for_each_before(LinearRange range, F&& f) const {
      for (std::size_t i = 0; before_ != nullptr && i < before_->count.load(std::memory_order_relaxed); ++i) {
        Vma vma = before_->entries[i].load();
        vma.range = {vma.range.begin > range.begin ? vma.range.begin : range.begin,
                     vma.range.end < range.end ? vma.range.end : range.end};
        if (vma.range.begin < vma.range.end) {
          f(vma);
        }
      }
    }

   private:
    void publish(Draft& draft) noexcept;

    VmaTable& table_;
    Snapshot* before_ = nullptr;  ///< what the last change has made stale; the next one overwrites it
    OwnerLockGuard guard_;
  };

  /// In the child after fork. A fork that holds a Writer in the parent copies a table that agrees with the
  /// native mappings.
  void after_fork_in_child() noexcept;

 private:
  template <typename F>
  [[nodiscard]] auto read(F&& f) const noexcept;
  [[nodiscard]] Snapshot* spare_for(std::size_t count) noexcept;
  void publish(Snapshot& snapshot, std::size_t count) noexcept;

  /// Where find() looks first for an address: the place of what was found last for one close by. Hints only.
  static constexpr std::size_t kHints = 16;
  [[nodiscard]] std::atomic<std::uint32_t>& hint_for(LinearAddress address) const noexcept {
    return hints_[(address.value() >> 16) % kHints];
  }

  Platform& platform_;
  OwnerLock lock_;
  std::atomic<std::uint64_t> version_{0};
  std::atomic<Snapshot*> current_{nullptr};
  Snapshot* spare_ = nullptr;
  mutable std::array<std::atomic<std::uint32_t>, kHints> hints_{};
};

}  // namespace enclume::kernel
