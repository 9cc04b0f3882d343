// SPDX-License-Identifier: Apache-2.0
// EDECCSSA (SDM Vol. 3D, "ENCLU[EDECCSSA]"): pops an SSA frame without leaving the enclave.
#include "arch/enclu/enclu.h"
#include "arch/enclu/operand.h"
#include "arch/enclu/ssa.h"
#include "arch/structs/secs.h"
#include "arch/structs/tcs.h"

namespace enclume::arch {

LeafResult edeccssa(const Machine& machine, LogicalProcessor& lp, CpuState& cpu,
                    AddressSpace& space) noexcept {
  Tcs& tcs = tcs_of(lp.tcs);
  const Secs& secs = secs_of(lp.secs);
  // The TCS is active and ours: nobody else changes CSSA.
  const std::uint32_t cssa = tcs.atomic_cssa().load(std::memory_order_relaxed);
  if (cssa == 0) {
    return raise(general_protection());
  }
  const auto ssa = locate_ssa_frame(
      machine, space, lp.secs, ssa_frame_address(secs.base_addr, tcs.ossa, secs.ssa_frame_size, cssa - 1));
  if (!ssa.has_value()) {
    return raise(ssa.error());
  }
  tcs.atomic_cssa().store(cssa - 1, std::memory_order_release);
  lp.ssa = *ssa;
  retire(lp, cpu);
  return leaf_success();
}

}  // namespace enclume::arch
