// SPDX-License-Identifier: Apache-2.0
// ERESUME (SDM Vol. 3D, "ENCLU[ERESUME]"): RBX = TCS, RCX = AEP.
#include "arch/enclu/eenter.h"
#include "arch/enclu/enclu.h"
#include "arch/enclu/operand.h"
#include "arch/enclu/ssa.h"
#include "arch/enclu/tcs_claim.h"
#include "arch/enclu/xstate.h"

namespace enclume::arch {

namespace {

// RFLAGS from the SSA: all that user code can change but TF, and IF only if it can.
std::uint64_t resumed_rflags(std::uint64_t now, std::uint64_t saved) {
  constexpr std::uint64_t kIopl3 = 3ULL << 12;
  std::uint64_t from_ssa = rflags::kCf | rflags::kPf | rflags::kAf | rflags::kZf | rflags::kSf | rflags::kDf |
                           rflags::kOf | rflags::kNt | rflags::kAc | rflags::kId | rflags::kRf;
  if ((now & kIopl3) == kIopl3) {
    from_ssa |= rflags::kIf;
  }
  return (now & ~from_ssa) | (saved & from_ssa);
}

}  // namespace

LeafResult eresume(const Machine& machine, LogicalProcessor& lp, CpuState& cpu,
                   AddressSpace& space) noexcept {
  const LinearAddress tcs_address = cpu.address(Reg::Rbx);
  const auto page = tcs_operand(space, tcs_address, cpu.address(Reg::Rcx));
  if (!page.has_value()) {
    return raise(page.error());
  }
  TcsClaim claim(machine, *page, tcs_address);
  if (const auto checked = claim.check(); !checked.has_value()) {
    return raise(checked.error());
  }

  Tcs& tcs = claim.tcs();
  const std::uint32_t cssa = tcs.atomic_cssa().load(std::memory_order_acquire);
  if (cssa == 0) {
    return raise(general_protection());
  }
  const auto ssa = locate_ssa_frame(machine, space, claim.secs_page(), claim.frame(cssa - 1));
  if (!ssa.has_value()) {
    return raise(ssa.error());
  }
  const bool may_notify = (tcs.atomic_flags().load(std::memory_order_relaxed) & tcs_flags::kAexNotify) != 0;
  // Who is not counted inside looks at the frame, which may go away under it, only where that decides.
  if (!may_notify && claim.busy()) {
    return raise(general_protection());
  }
  const auto saved = snapshot<Gprsgx>(ssa->gpr);
  if (may_notify && (saved.aexnotify & 1) != 0) {
    // AEX-Notify: the enclave hears of the exit before it goes on. Its handler runs on the next frame and
    // pops this one by EDECCSSA.
    return enter_at_entry_point(machine, claim, lp, cpu, space);
  }
  if (!LinearAddress(saved.rip).canonical() || !LinearAddress(saved.fsbase).canonical() ||
      !LinearAddress(saved.gsbase).canonical() || claim.busy()) {
    return raise(general_protection());
  }
  const auto header = check_xrstor(claim.secs().attributes.xfrm, cpu.xsave, *ssa);
  if (!header.has_value()) {
    return raise(general_protection());
  }

  // A pending #DB is dropped: opt-in debugging traps after the first instruction inside, opt-out not at all.
  // The SDM's pseudocode clears TF before it remembers it; its text has it come back at the next exit, and so
  // here.
  claim.enter(lp, cpu, *ssa);
  cpu.pending_single_step = false;
  tcs.atomic_cssa().store(cssa - 1, std::memory_order_release);
  restore_xstate(machine.config, lp.xfrm, *header, *ssa, cpu.xsave);
  cpu.gpr = saved.gpr;
  cpu.rip = saved.rip;
  cpu.rflags = resumed_rflags(cpu.rflags, saved.rflags);
  cpu.fs_base = saved.fsbase;
  cpu.gs_base = saved.gsbase;
  return leaf_success();
}

}  // namespace enclume::arch
