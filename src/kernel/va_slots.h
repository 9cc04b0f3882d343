// SPDX-License-Identifier: Apache-2.0
// Version array pages of an enclave: one for each 512 of its pages, made as pages are added, so that every
// page can be evicted (Linux: sgx_encl_grow(), sgx_alloc_va_slot()). The enclave's lock is held throughout.
#pragma once

#include <cstdint>
#include <optional>

#include "base/errno.h"
#include "kernel/enclave.h"
#include "kernel/kernel.h"
#include "kernel/reclaim/reclaim.h"

namespace enclume::kernel {

/// Whether one page more needs another VA page, thus an EPC page.
[[nodiscard]] bool growth_needs_va_page(const Enclave&) noexcept;

/// Counts one page more; makes the VA page if growth_needs_va_page(), from the reservation.
/// Errors: Fault (EPA failed).
[[nodiscard]] SysResult<void> grow(const Kernel&, Enclave&, EpcReservation&) noexcept;

/// Counts one page less. VA pages stay, as in Linux when pages are removed.
void shrink(Enclave&) noexcept;

/// A free slot, marked as taken: VA page * 512 + slot. There is always one, by grow()'s count.
[[nodiscard]] std::optional<std::uint64_t> take_va_slot(Enclave&) noexcept;
void free_va_slot(Enclave&, std::uint64_t slot) noexcept;

}  // namespace enclume::kernel
