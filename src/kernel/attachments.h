// SPDX-License-Identifier: Apache-2.0
// Which processes use which enclave: the tables of KernelShared. The caller holds KernelShared::lock.
#pragma once

#include <cstdint>

#include "kernel/platform.h"
#include "kernel/shared.h"

namespace enclume::kernel {

/// A process's places in the tables; nowhere if one of them is full.
struct Attached {
  EnclaveRecord* record = nullptr;
  Attachment* attachment = nullptr;
};

/// A process that uses an enclave.
struct User {
  int process = 0;
  bool forked =
      false;  ///< it has executed no program since it was forked, and does not have them once it has
};

/// Counts the process as a user; makes the enclave's record, charged with `epc_pages`, if nobody had one.
[[nodiscard]] Attached attach_process(KernelShared&, std::uint32_t number, std::uint64_t epc_pages,
                                      User user) noexcept;

/// The process uses it no more; the last one's leaving frees the record and uncharges its EPC pages.
void detach_process(KernelShared&, std::uint32_t number, int process) noexcept;

/// detach_process() for every user that is no more; `thorough`: or has let go of its memory. Returns EPC
/// pages recovered.
std::uint64_t detach_dead_processes(KernelShared&, Platform&, bool thorough) noexcept;

}  // namespace enclume::kernel
