// SPDX-License-Identifier: Apache-2.0
// What a power transition (or a virtual machine's move to another machine) does to the EPC: its key is gone,
// and with it every page. SDM Vol. 3D, "Power Management and Enclaves" (S3 and deeper).
#pragma once

#include "arch/epc/epcm.h"

namespace enclume::arch {

/// The page is free, as after a reset: from now on leaves, EENTER among them, and accesses find no valid page
/// (#PF with the SGX bit). On hardware no SGX instruction is under way at that moment; here one on another
/// thread may hold the page: false, and the caller tries again. EpcmEntry::owner stays: who is inside has yet
/// to leave. Signal context: safe.
[[nodiscard]] inline bool lose_page(const EpcPage& page) noexcept {
  std::uint32_t free = 0;
  if (!page.epcm->lock.compare_exchange_strong(free, kBeingLost, std::memory_order_acquire)) {
    return false;
  }
  page.epcm->store(EpcmState{});
  page.epcm->lock.store(0, std::memory_order_release);
  return true;
}

}  // namespace enclume::arch
