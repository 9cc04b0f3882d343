// SPDX-License-Identifier: Apache-2.0
// The loop of the SGX2 ioctls that change pages in the EPC: load, change, revoke, ETRACK, IPI.
#pragma once

#include <cstdint>

#include "base/errno.h"
#include "kernel/enclave_lock.h"
#include "kernel/reclaim/eviction.h"
#include "kernel/resident_page.h"

namespace enclume::kernel {

/// Pages that share one ETRACK and one IPI. Linux does each page by itself; nobody can see the difference,
/// since the lock is held and the count covers only what is finished.
inline constexpr std::uint64_t kPagesPerTracking = 64;

/// Calls change(page) -> SysResult<void> for `count` pages from `first`, each resident and the enclave's lock
/// held. `done` is how many pages are finished. Errors: change()'s; Fault (no such page, not loadable,
/// ETRACK).
template <typename Change>
[[nodiscard]] SysResult<void> change_pages(const Kernel& kernel, Enclave& enclave, std::uint64_t first,
                                           std::uint64_t count, std::uint64_t& done, Change change) noexcept {
  for (done = 0; done < count;) {
    EpcReservation epc(kernel, enclave);
    EnclaveLock lock(kernel, enclave);
    std::uint64_t changed[kPagesPerTracking];
    std::size_t n = 0;
    SysResult<void> result;
    while (n < kPagesPerTracking && done + n < count) {
      const std::uint64_t page = first + done + n;
      if (n > 0 && !is_resident(enclave, page)) {
        break;  // loading may drop the lock: the pages at hand are finished before
      }
      if (!make_resident(kernel, enclave, lock, epc, page)) {
        result = fail(Errno::Fault);
        break;
      }
      result = change(page);
      if (!result) {
        break;
      }
      changed[n++] = page;
    }
    if (n > 0) {
      revoke_pages(kernel, enclave, {changed, n});
      if (!track_and_kick(kernel, enclave)) {
        return fail(Errno::Fault);
      }
    }
    done += n;
    if (!result) {
      return result;
    }
  }
  return {};
}

}  // namespace enclume::kernel
