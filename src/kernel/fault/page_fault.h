// SPDX-License-Identifier: Apache-2.0
// The page-fault handler for addresses of enclaves (Linux: do_user_addr_fault() and sgx_vma_fault()).
#pragma once

#include <cstdint>
#include <optional>

#include "base/types.h"
#include "kernel/kernel.h"

namespace enclume::kernel {

enum class FaultResolution : std::uint8_t {
  Resolved,    ///< try the instruction again
  BadMapping,  ///< SIGSEGV, SEGV_MAPERR: no VMA there
  BadAccess,   ///< SIGSEGV, SEGV_ACCERR
  BadKey,      ///< SIGSEGV, SEGV_PKUERR
  Bus,         ///< SIGBUS, BUS_ADRERR
};

/// Decides a #PF of the program at an address in an enclave's VMA or in no VMA that the program can use:
/// loads an evicted page (SECS first), maps one that is touched for the first time, adds one that an
/// initialised enclave has not yet (EAUG), or says which signal (or fixup: both SIGSEGV and SIGBUS become
/// vector 14 there) it is.
///
/// `error_code` is the architectural one, as from UserSpace::walk() or arch::check_enclave_access(): bit P
/// of a native SIGSEGV does not count, since EPCM denial is native PROT_NONE. For a native fault of enclave
/// code the engine first walks and checks: if both pass, only native permissions were behind, and nothing
/// comes here. `Resolved` does not give native permissions either: the retry finds out.
///
/// `evictions` is KernelShared::evictions before the walk. An EPCM violation is not believed if a page has
/// been evicted meanwhile, and is `Resolved`; see evicted_since().
///
/// Signal context: safe on a thread that holds no lock of kernel/; that thread has left its enclave (AEX).
/// May wait for other threads, may reclaim.
[[nodiscard]] FaultResolution handle_enclave_fault(
    const Kernel&, LinearAddress address, std::uint32_t error_code,
    std::optional<std::uint64_t> evictions = std::nullopt) noexcept;

/// Adds the page (EAUG) if handle_enclave_fault() would do that for this #PF and neither waits nor reclaims
/// for it: so the thread may be in the enclave still. Else nothing has happened, and that one has to decide.
/// No full EPC is injected here. Signal context: safe on a thread that holds no lock of kernel/.
[[nodiscard]] bool augment_at_once(const Kernel&, LinearAddress address, std::uint32_t error_code) noexcept;

/// Whether a page of any enclave has been evicted since KernelShared::evictions had this value, or one of
/// `enclave` was about to be. Linux takes a page's PTE away in all processors before EBLOCK, and no
/// instruction is halfway then. Here a thread can walk to a page, wait for a processor, and find the page's
/// EPCM entry blocked, locked, gone, or there again: what a leaf says then was never so. Signal context: as
/// above.
[[nodiscard]] bool evicted_since(const Kernel&, Enclave&, std::uint64_t evictions) noexcept;

/// Makes EXITINFO of a frame say that there was no exception, after the thread has left. `gprsgx` is where
/// the exit wrote the frame, in an EPC page of `enclave`, which may have been evicted since. Signal context:
/// as above.
void clear_exitinfo(const Kernel&, Enclave&, std::byte* gprsgx) noexcept;
/// The same while the thread is inside, which keeps the frame in the EPC. Signal context: safe.
void forget_exitinfo(std::byte* gprsgx) noexcept;

}  // namespace enclume::kernel
