// SPDX-License-Identifier: Apache-2.0
// EENTER (SDM Vol. 3D, "ENCLU[EENTER]"): RBX = TCS, RCX = AEP.
#include "arch/enclu/eenter.h"

#include "arch/enclu/enclu.h"
#include "arch/enclu/ssa.h"
#include "arch/structs/tcs.h"

namespace enclume::arch {

LeafResult enter_at_entry_point(const Machine& machine, TcsClaim& claim, LogicalProcessor& lp, CpuState& cpu,
                                AddressSpace& space) noexcept {
  const Tcs& tcs = claim.tcs();
  const std::uint32_t cssa = claim.tcs().atomic_cssa().load(std::memory_order_acquire);
  if (cssa >= tcs.nssa) {
    return raise(general_protection());
  }
  const auto ssa = locate_ssa_frame(machine, space, claim.secs_page(), claim.frame(cssa));
  if (!ssa.has_value()) {
    return raise(ssa.error());
  }
  const LinearAddress entry = claim.at(tcs.oentry);
  const LinearAddress fs_base = claim.at(tcs.ofsbase);
  const LinearAddress gs_base = claim.at(tcs.ogsbase);
  if (!entry.canonical() || !fs_base.canonical() || !gs_base.canonical() || claim.busy()) {
    return raise(general_protection());
  }

  // With TF set, opt-in debugging traps at the first instruction inside.
  claim.enter(lp, cpu, *ssa);
  cpu.pending_single_step = (cpu.rflags & rflags::kTf) != 0;
  cpu.rflags &= ~rflags::kRf;
  Gprsgx& gpr = gprsgx_of(*ssa);
  gpr.ursp = cpu[Reg::Rsp];
  gpr.urbp = cpu[Reg::Rbp];
  cpu[Reg::Rax] = cssa;
  cpu[Reg::Rcx] = cpu.rip + kEncluLength;
  cpu.rip = entry.value();
  cpu.fs_base = fs_base.value();
  cpu.gs_base = gs_base.value();
  return leaf_success();
}

LeafResult eenter(const Machine& machine, LogicalProcessor& lp, CpuState& cpu, AddressSpace& space) noexcept {
  const LinearAddress tcs_address = cpu.address(Reg::Rbx);
  const auto page = tcs_operand(space, tcs_address, cpu.address(Reg::Rcx));
  if (!page.has_value()) {
    return raise(page.error());
  }
  TcsClaim claim(machine, *page, tcs_address);
  if (const auto checked = claim.check(); !checked.has_value()) {
    return raise(checked.error());
  }
  return enter_at_entry_point(machine, claim, lp, cpu, space);
}

}  // namespace enclume::arch
