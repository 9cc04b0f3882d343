// SPDX-License-Identifier: Apache-2.0
// Which pages of an enclave to evict: a two-handed clock.
//
// Linux asks the accessed bits of the page tables. Natively there are none to ask, so the first hand takes
// the native permissions of a page away ("aged"): a page in use faults, UserSpace::walk() clears the mark,
// and that is all that a program notices. The second hand follows some pages behind and takes what is still
// marked. An enclave that is not initialised yet can't run: its pages are taken as they come.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel/enclave.h"
#include "kernel/kernel.h"

namespace enclume::kernel {

/// Fills `victims` with resident pages, ascending, and returns how many. If all pages between the hands are
/// in use, takes those under the second hand all the same. The enclave's lock is held.
[[nodiscard]] std::size_t choose_victims(const Kernel&, Enclave&, std::span<std::uint64_t> victims) noexcept;

}  // namespace enclume::kernel
