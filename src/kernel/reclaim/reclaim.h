// SPDX-License-Identifier: Apache-2.0
// EPC pages as a scarce good: accounting, and taking them back (Linux: arch/x86/kernel/cpu/sgx/main.c).
#pragma once

#include <cstdint>

#include "base/errno.h"
#include "kernel/enclave.h"
#include "kernel/kernel.h"

namespace enclume::kernel {

inline constexpr unsigned kReclaimBatch = 16;  ///< SGX_NR_TO_SCAN

/// Pages of the EPC set aside for an enclave, given back at the end of the scope unless used. The pages
/// themselves are places in the enclave's file; what is scarce is their number.
class EpcReservation {
 public:
  EpcReservation(const Kernel& kernel, Enclave& enclave) noexcept : kernel_(kernel), enclave_(enclave) {}
  ~EpcReservation();
  EpcReservation(const EpcReservation&) = delete;
  EpcReservation& operator=(const EpcReservation&) = delete;

  /// Makes sure that `pages` are at hand, reclaiming if the EPC is full. The enclave's lock must not be held.
  /// Errors: NoMemory (nothing left that could be evicted), Restart (a signal waits and `interruptible`).
  [[nodiscard]] SysResult<void> ensure(std::uint64_t pages, bool interruptible) noexcept;
  /// Sets aside up to `pages` if they are free, without reclaiming. Never waits.
  void prefer(std::uint64_t pages) noexcept;
  [[nodiscard]] std::uint64_t available() const noexcept { return available_; }
  /// One of them becomes an EPC page of the enclave.
  void use() noexcept;

 private:
  [[nodiscard]] bool take_one() noexcept;

  const Kernel& kernel_;
  Enclave& enclave_;
  std::uint64_t available_ = 0;
};

/// Counts the time of its scope as paging.
class PagingTime {
 public:
  explicit PagingTime(const Kernel& kernel) noexcept
      : platform_(kernel.platform), began_(platform_.paging_clock()) {}
  ~PagingTime() { platform_.count_paging(platform_.paging_clock() - began_); }
  PagingTime(const PagingTime&) = delete;
  PagingTime& operator=(const PagingTime&) = delete;

 private:
  Platform& platform_;
  std::uint64_t began_;
};

/// An EPC page of the enclave became free.
void give_back_epc_page(const Kernel&, Enclave&) noexcept;

[[nodiscard]] std::uint64_t free_epc_pages(const KernelShared&) noexcept;

/// Evicts up to kReclaimBatch pages of the enclaves of this process; returns how many. Neither an enclave's
/// lock nor the table's may be held. Signal context: as OwnerLock.
unsigned reclaim_batch(const Kernel&) noexcept;

/// Evicts a few batches of this enclave's pages, if it is one of this process's: another process needs them.
/// Locks and signal context: as reclaim_batch().
void evict_for_others(const Kernel&, std::uint32_t enclave) noexcept;

/// What ksgxd does: below 32 free pages, evicts until 64 are free (less on a machine with a tiny EPC). For a
/// service thread; nothing depends on it, since EpcReservation reclaims by itself. Returns pages evicted.
unsigned balance_epc(const Kernel&) noexcept;

/// Repairs the accounting after processes that died, or executed another program, without a word. Of those
/// that still exist it is asked at each sixteenth call, unless `thorough`. Returns pages recovered.
std::uint64_t sweep_dead_processes(const Kernel&, bool thorough = false) noexcept;

}  // namespace enclume::kernel
