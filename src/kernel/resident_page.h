// SPDX-License-Identifier: Apache-2.0
// Bringing a page of an enclave into the EPC (Linux: sgx_encl_load_page()).
#pragma once

#include <cstdint>

#include "base/errno.h"
#include "kernel/enclave_lock.h"
#include "kernel/reclaim/reclaim.h"

namespace enclume::kernel {

/// Loads the SECS and then the page if they are evicted. The lock may be dropped and taken again for EPC
/// pages. Errors: Fault (the enclave has no such page, or ELDU failed), NoMemory (EPC exhausted).
[[nodiscard]] SysResult<void> make_resident(const Kernel&, Enclave&, EnclaveLock&, EpcReservation&,
                                            std::uint64_t page) noexcept;

/// The SECS alone. `extra` EPC pages more are reserved with it, so that the caller can go on without dropping
/// the lock.
[[nodiscard]] SysResult<void> make_secs_resident(const Kernel&, Enclave&, EnclaveLock&, EpcReservation&,
                                                 std::uint64_t extra) noexcept;

/// Whether make_resident() would return at once.
[[nodiscard]] bool is_resident(const Enclave&, std::uint64_t page) noexcept;

}  // namespace enclume::kernel
