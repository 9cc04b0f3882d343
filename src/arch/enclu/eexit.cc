// SPDX-License-Identifier: Apache-2.0
// EEXIT (SDM Vol. 3D, "ENCLU[EEXIT]"): RBX = target outside.
#include "arch/enclu/enclu.h"
#include "arch/enclu/tcs_claim.h"
#include "arch/structs/tcs.h"

namespace enclume::arch {

LeafResult eexit(const Machine& /*machine*/, LogicalProcessor& lp, CpuState& cpu) noexcept {
  const LinearAddress target = cpu.address(Reg::Rbx);
  if (!target.canonical()) {
    return raise(general_protection());
  }
  // All else leaks out as the enclave left it: registers, flags, vector state.
  cpu[Reg::Rcx] = tcs_of(lp.tcs).aep;
  cpu.rip = target.value();
  cpu.rflags &= ~rflags::kRf;
  leave_enclave(lp, cpu);
  cpu.pending_single_step = (cpu.rflags & rflags::kTf) != 0;
  return leaf_success();
}

}  // namespace enclume::arch
