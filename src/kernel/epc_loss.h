// SPDX-License-Identifier: Apache-2.0
// The EPC goes away under an enclave: a power transition, or a virtual machine that has moved.
#pragma once

#include "kernel/enclave.h"
#include "kernel/kernel.h"

namespace enclume::kernel {

/// Every EPC page of the enclave is lost: pages, TCS, SECS and version arrays, with the latter what was
/// evicted. Threads inside leave by an asynchronous exit first (those of a stopped process when it goes on).
/// Linux is not told of such an event and learns of it as it does on hardware: from leaves and accesses that
/// fault. So its own records stay as they are, and each path fails as there:
///
///   EENTER, ERESUME            #PF with the SGX bit at the TCS: SIGSEGV (SEGV_ACCERR) or fixup
///   a page that was evicted    #PF without it: ELDU fails, SIGBUS or fixup
///   EAUG                       SIGBUS or fixup
///   ADD_PAGES, INIT            EIO
///   RESTRICT_PERMISSIONS, MODIFY_TYPES   EFAULT
///
/// Losing it twice is losing it once. False if there is nothing to lose: no ECREATE yet.
/// Takes the enclave's lock. Signal context: as OwnerLock, on a thread that is not inside an enclave.
bool lose_epc(const Kernel&, Enclave&) noexcept;

/// Whether that has happened. Signal context: safe.
[[nodiscard]] bool epc_lost(const Enclave&) noexcept;

}  // namespace enclume::kernel
