// SPDX-License-Identifier: Apache-2.0
// The kernel's half as one object: everything that a decision needs, by reference.
#pragma once

#include "arch/machine.h"
#include "kernel/enclave_table.h"
#include "kernel/fixup/mm_context.h"
#include "kernel/platform.h"
#include "kernel/shared.h"
#include "kernel/vma/vma_table.h"

namespace enclume::kernel {

struct Kernel {
  Platform& platform;
  const arch::MachineConfig& config;
  KernelShared& shared;
  EnclaveTable& enclaves;
  VmaTable& vmas;
  MmContext& mm;
  /// As Linux: an enclave's page is in no page table until it is touched, and again after it was evicted or
  /// unmapped. False: every page is mapped at once. Set before the first enclave.
  bool maps_on_touch = false;

  /// The same, asking `other`.
  [[nodiscard]] Kernel on(Platform& other) const noexcept {
    return {other, config, shared, enclaves, vmas, mm, maps_on_touch};
  }

  /// The machine that leaves execute on; cheap to make.
  [[nodiscard]] arch::Machine machine() const noexcept { return {config, shared.machine, enclaves}; }
};

}  // namespace enclume::kernel
