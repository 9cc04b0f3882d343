// SPDX-License-Identifier: Apache-2.0
// Writing pages of one enclave out of the EPC: EBLOCK, revoke, ETRACK, EWB. The enclave's lock is held
// throughout: threads that are kicked leave without it, and those that fault wait until all is done.
#pragma once

#include <cstdint>
#include <span>

#include "kernel/enclave.h"
#include "kernel/kernel.h"

namespace enclume::kernel {

/// Evicts these resident pages (ascending), at most kReclaimBatch; then the SECS, if nothing is left that
/// needs it. Returns how many EPC pages became free. A page that can't be written (a thread does not leave:
/// its process is stopped) stays blocked, and whoever needs it next finishes the work.
unsigned evict_pages(const Kernel&, Enclave&, std::span<const std::uint64_t> pages) noexcept;

/// Finishes the eviction of one page that is blocked.
[[nodiscard]] bool evict_blocked_page(const Kernel&, Enclave&, std::uint64_t page) noexcept;

/// Moves the protection epoch and has the platform withhold these pages.
void revoke_pages(const Kernel&, Enclave&, std::span<const std::uint64_t> pages) noexcept;

/// ETRACK and the IPIs: afterwards no thread uses a translation that it had before (Linux:
/// sgx_enclave_etrack()). False if ETRACK fails twice.
[[nodiscard]] bool track_and_kick(const Kernel&, Enclave&) noexcept;

}  // namespace enclume::kernel
