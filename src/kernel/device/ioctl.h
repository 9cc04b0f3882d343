// SPDX-License-Identifier: Apache-2.0
// ioctl() on /dev/sgx_enclave (Linux: sgx_ioctl(), arch/x86/kernel/cpu/sgx/ioctl.c).
#pragma once

#include "base/errno.h"
#include "base/types.h"
#include "kernel/enclave.h"
#include "kernel/kernel.h"

namespace enclume::kernel {

/// Every command of kernel/uapi/sgx.h, with Linux's order of checks, errno values, partial progress and
/// write-back of `count` and `result`. VEPC_REMOVE_ALL and anything unknown: NotTty. In design `per-mm` also
/// the commands of include/enclume/uapi/sgx_enclu_handler.h.
///
/// Busy while another thread is in an ioctl on the same enclave. Restart (ERESTARTSYS) only if
/// Platform::signal_pending() said so before anything was done. After a successful CREATE the engine moves
/// the VMAs that were made before to their places in the file; after ADD_PAGES and INIT native permissions
/// may be given (ProtectionRuns), or left to faults.
///
/// Signal context: unsafe; the caller has its signals blocked, is not inside an enclave and holds no lock of
/// kernel/. Runs on the caller's stack, less than 4 KiB of it.
[[nodiscard]] SysResult<long> sgx_ioctl(const Kernel&, Enclave&, unsigned command,
                                        LinearAddress argument) noexcept;

}  // namespace enclume::kernel
