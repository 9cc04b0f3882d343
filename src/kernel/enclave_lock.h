// SPDX-License-Identifier: Apache-2.0
// Holding an enclave's lock (Linux: encl->lock), which other processes may die with.
#pragma once

#include <mutex>

#include "base/errno.h"
#include "kernel/enclave.h"
#include "kernel/kernel.h"
#include "kernel/reclaim/reclaim.h"

namespace enclume::kernel {

/// Signal context: as OwnerLock.
class EnclaveLock {
 public:
  EnclaveLock(const Kernel& kernel, Enclave& enclave) noexcept : kernel_(kernel), enclave_(enclave) {
    lock();
  }
  /// Only if nobody has it, and nobody has died with it: see held().
  EnclaveLock(const Kernel& kernel, Enclave& enclave, std::try_to_lock_t) noexcept
      : kernel_(kernel),
        enclave_(enclave),
        held_(enclave.shared().lock.try_lock(kernel.platform.thread_id())) {}
  ~EnclaveLock() {
    if (held_) {
      enclave_.shared().lock.unlock();
    }
  }
  EnclaveLock(const EnclaveLock&) = delete;
  EnclaveLock& operator=(const EnclaveLock&) = delete;

  [[nodiscard]] bool held() const noexcept { return held_; }

  /// EpcReservation::ensure() with the lock dropped meanwhile: what was known of the enclave must be looked
  /// at again.
  [[nodiscard]] SysResult<void> reserve(EpcReservation& epc, std::uint64_t pages,
                                        bool interruptible) noexcept;

 private:
  void lock() noexcept;

  const Kernel& kernel_;
  Enclave& enclave_;
  bool held_ = true;
};

/// Makes the page table agree with the EPCM after a process died in the middle of a change. The lock is held.
void repair_enclave(const Kernel&, Enclave&) noexcept;

}  // namespace enclume::kernel
