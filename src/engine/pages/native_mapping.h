// SPDX-License-Identifier: Apache-2.0
// The system calls by which an enclave's pages get into the program's address space. Signal context: safe.
#pragma once

#include <cstddef>
#include <span>

#include "base/errno.h"
#include "base/types.h"
#include "kernel/enclave.h"

namespace enclume::engine {

/// The mapping of `range` of an enclave's VMA in its file, all permissions off. Errors as mmap.
[[nodiscard]] SysResult<void> map_native(const kernel::Enclave& enclave, LinearRange range);

/// mprotect, or with `key` >= 0 pkey_mprotect. False if the kernel has no room for another mapping
/// (vm.max_map_count); what is not mapped counts as done, since nobody can do anything to it either.
[[nodiscard]] bool protect_native(LinearRange range, unsigned prot, int key);

/// protect_native() where the permissions are an enclave's. Where a policy lets no mapping become executable,
/// the pages are mapped anew, for which the program has to have the enclave's descriptor; else it is told,
/// and ends: it could not run its enclave.
[[nodiscard]] bool allow_native(const kernel::Enclave& enclave, LinearRange range, unsigned prot, int key);

/// Lays the enclave's own pages over whatever is mapped in `range`, at once and with these permissions. Needs
/// no descriptor of the file: the program may have closed them all. False if there is no room for a mapping.
[[nodiscard]] bool lay_original(const kernel::Enclave& enclave, LinearRange range, unsigned prot, int key);

/// Lays a private copy of these bytes over the page, at once and with these permissions. False as above.
[[nodiscard]] bool lay_copy(LinearAddress page, std::span<const std::byte, kPageSize> bytes, unsigned prot,
                            int key);

}  // namespace enclume::engine
