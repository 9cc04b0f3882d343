// SPDX-License-Identifier: Apache-2.0
// mmap, mprotect and mremap of enclaves: what Linux allows (arch/x86/kernel/cpu/sgx/{driver,encl}.c,
// mm/mmap.c, mm/mprotect.c).
#pragma once

#include "base/errno.h"
#include "base/types.h"
#include "kernel/enclave.h"
#include "kernel/kernel.h"
#include "kernel/protection.h"

namespace enclume::kernel {

struct MmapRequest {
  LinearRange range;               ///< where it will be: the hint for MAP_FIXED, else the address found
  unsigned prot = 0;               ///< as given to mmap
  unsigned flags = 0;              ///< as given to mmap
  bool fd_readable = true;         ///< the descriptor was opened for reading
  bool fd_writable = true;         ///< and writing
  bool read_implies_exec = false;  ///< personality has READ_IMPLIES_EXEC
  bool deny_write_exec = false;    ///< prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN)
};

/// sgx_get_unmapped_area(): what can be said before an address is chosen. Errors: Invalid (MAP_PRIVATE).
/// Signal context: safe.
[[nodiscard]] SysResult<void> may_choose_address(unsigned flags) noexcept;

/// The VMA that mmap would make, to be inserted once the native mapping is there. Called with a
/// VmaTable::Writer held; takes the enclave's lock. Errors, in Linux's order: Invalid (MAP_PRIVATE, or no
/// known type), EOPNOTSUPP (unknown flags with MAP_SHARED_VALIDATE), Access (descriptor's mode; outside
/// ELRANGE after INIT; READ_IMPLIES_EXEC; more than a page's maximum; writable and executable, where that is
/// denied).
[[nodiscard]] SysResult<Vma> may_mmap(const Kernel&, Enclave&, const MmapRequest&) noexcept;

/// How far mprotect gets over a range: Linux changes VMA by VMA, and what it did before an error stays done.
struct MprotectVerdict {
  LinearAddress allowed_end;   ///< the part before it is to be changed
  std::optional<Errno> error;  ///< then fail with this (Access), unless the native call failed before
};
/// Called with a VmaTable::Writer held; takes the locks of the enclaves in the range. Parts of the range that
/// are not enclaves are the native call's business.
[[nodiscard]] MprotectVerdict may_mprotect(const Kernel&, LinearRange range, unsigned prot,
                                           bool read_implies_exec, bool deny_write_exec = false) noexcept;

/// mremap of a range that begins in an enclave's VMA: VM_DONTEXPAND and VM_PFNMAP forbid growth.
/// Errors: Fault. Signal context: safe.
[[nodiscard]] SysResult<void> may_mremap(std::uint64_t old_size, std::uint64_t new_size) noexcept;

}  // namespace enclume::kernel
