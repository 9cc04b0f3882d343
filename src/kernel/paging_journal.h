// SPDX-License-Identifier: Apache-2.0
// What the holder of an enclave's lock does to a page, in a place that outlives its process: whoever takes
// the lock over from a dead one brings it to an end or back. (A process is killed in a system call of Linux
// only after that has come to its end; here at any instruction.)
#pragma once

#include <cstdint>

#include "kernel/enclave.h"
#include "kernel/kernel.h"

namespace enclume::kernel {

/// Notes, for as long as it lives, what is going on. The lock is held; one at a time. Signal context: safe.
class Journaled {
 public:
  /// `number` is about to be evicted to `slot`: its ciphertext goes to Enclave::spare_page(), and from there
  /// to its place when the page is not in the EPC any more. (`number` pages() is the SECS, here and below.)
  static Journaled eviction(Enclave&, std::uint64_t number, std::uint64_t slot) noexcept;
  /// `number` is about to be decrypted where it lies; the ciphertext is kept in Enclave::spare_page().
  static Journaled load(Enclave&, std::uint64_t number, std::uint64_t slot) noexcept;
  /// `number` comes (EADD, EAUG) or goes (EREMOVE), and the index has not got it before and after.
  static Journaled change(Enclave&, std::uint64_t number) noexcept;

  ~Journaled() { journal_.what.store(0, std::memory_order_release); }
  Journaled(const Journaled&) = delete;
  Journaled& operator=(const Journaled&) = delete;

 private:
  Journaled(Enclave&, std::uint32_t what, std::uint64_t number, std::uint64_t slot) noexcept;

  PagingJournal& journal_;
};

/// Brings what a dead process has begun to its end, or back. The page's state is the caller's to renew from
/// the EPCM and EnclavePage::va_slot.
void end_journaled(const Kernel&, Enclave&) noexcept;

}  // namespace enclume::kernel
