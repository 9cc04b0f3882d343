// SPDX-License-Identifier: Apache-2.0
// PTEs of enclave pages. Linux makes none before a page is touched: sgx_vma_fault() inserts it
// (vmf_insert_pfn()), so the first touch of each page is a page fault, and from inside the enclave an
// asynchronous exit, of which nobody but the enclave learns. Eviction, munmap and a change to a TCS take PTEs
// away again.
#pragma once

#include <cstdint>

#include "base/types.h"
#include "kernel/enclave.h"
#include "kernel/kernel.h"

namespace enclume::kernel {

/// Separate places that an enclave may touch page by page. Each can cost the process two native mappings, and
/// vm.max_map_count bounds them: beyond this many, all its pages are mapped at once (docs/fidelity.md).
inline constexpr std::uint64_t kMaxIslands = 4096;

/// The page has a PTE from now on. Under the enclave's lock; the page is resident. `loaded`: it has come back
/// into the EPC, and how it lies among others is the reclaimer's doing. Signal context: safe.
void map_touched(Enclave& enclave, std::uint64_t page, bool loaded) noexcept;

/// The page loses its PTE, whatever --benign-faults says: the next touch is a page fault. False if the
/// enclave has no such page in the EPC. Takes the enclave's lock; signal context: as OwnerLock.
bool unmap_page(const Kernel& kernel, Enclave& enclave, std::uint64_t page) noexcept;

/// The program unmaps the range. Before the VMAs are gone. Signal context: safe.
void unmap_touched(const Kernel& kernel, LinearRange range) noexcept;

}  // namespace enclume::kernel
