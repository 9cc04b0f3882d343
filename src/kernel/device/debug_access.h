// SPDX-License-Identifier: Apache-2.0
// ptrace PEEK and POKE, /proc/pid/mem on an enclave (Linux: sgx_vma_access()).
#pragma once

#include <cstddef>

#include "base/errno.h"
#include "base/types.h"
#include "kernel/kernel.h"

namespace enclume::kernel {

/// Reads or writes by EDBGRD and EDBGWR in words of 8 bytes; evicted pages are loaded. Returns `size`; on an
/// error, as in Linux, nothing is said of the words before the one that was refused, which may have been
/// written. Errors: Fault (no enclave there, not a debug enclave, no such page,
/// VMA beyond the page's maximum), Io (the leaf failed). Signal context: unsafe, as sgx_ioctl().
[[nodiscard]] SysResult<std::size_t> debug_read(const Kernel&, LinearAddress from, std::byte* to,
                                                std::size_t size) noexcept;
[[nodiscard]] SysResult<std::size_t> debug_write(const Kernel&, LinearAddress to, const std::byte* from,
                                                 std::size_t size) noexcept;

}  // namespace enclume::kernel
