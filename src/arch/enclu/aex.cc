// SPDX-License-Identifier: Apache-2.0
// Asynchronous enclave exit (SDM Vol. 3D, chapter "Interrupts and Exceptions", "AEX Operational Detail").
#include <cstring>
#include <optional>

#include "arch/enclu/enclu.h"
#include "arch/enclu/ssa.h"
#include "arch/enclu/tcs_claim.h"
#include "arch/enclu/xstate.h"

namespace enclume::arch {

namespace {

// EXITINFO for an event; 0 for what the enclave is not told of (SDM: "EXITINFO vector information").
std::uint32_t exitinfo_of(const AexEvent& event, bool exinfo_selected) {
  if (!event.exception) {
    return 0;
  }
  switch (event.vector) {
    case Vector::DE:
    case Vector::DB:
    case Vector::BR:
    case Vector::UD:
    case Vector::MF:
    case Vector::AC:
    case Vector::XM:
      return exitinfo::make(event.vector, exitinfo::Type::Hardware);
    case Vector::BP:
      return exitinfo::make(event.vector, exitinfo::Type::Software);
    case Vector::GP:
      return exinfo_selected ? exitinfo::make(event.vector, exitinfo::Type::Hardware) : 0;
    case Vector::PF:
      // A supervisor access on the enclave's behalf is not its business.
      return exinfo_selected && (event.error_code & pfec::kUser) != 0
                 ? exitinfo::make(event.vector, exitinfo::Type::Hardware)
                 : 0;
    default:
      return 0;
  }
}

void save_exit_reason(const AexEvent& event, const SsaFrameCache& ssa) {
  const std::uint32_t info = exitinfo_of(event, ssa.misc != nullptr);
  gprsgx_of(ssa).exitinfo = info;
  if (info != 0 && (event.vector == Vector::PF || event.vector == Vector::GP)) {
    const Exinfo exinfo{event.vector == Vector::PF ? event.address.value() : 0, event.error_code, 0};
    std::memcpy(ssa.misc, &exinfo, sizeof(exinfo));
  }
}

}  // namespace

void record_aex(const Machine& machine, const LogicalProcessor& lp, const CpuState& cpu,
                const AexEvent& event) noexcept {
  Gprsgx& saved = gprsgx_of(lp.ssa);
  saved.gpr = cpu.gpr;
  saved.rip = cpu.rip;
  saved.rflags = (cpu.rflags & ~rflags::kTf) | (event.save_rf ? rflags::kRf : 0);
  saved.fsbase = cpu.fs_base;
  saved.gsbase = cpu.gs_base;
  save_exit_reason(event, lp.ssa);
  save_xstate(machine.config, lp.xfrm, cpu.xsave, lp.ssa);
}

LinearAddress aex(const Machine& machine, LogicalProcessor& lp, CpuState& cpu,
                  const AexEvent& event) noexcept {
  Tcs& tcs = tcs_of(lp.tcs);
  const Gprsgx& saved = gprsgx_of(lp.ssa);
  record_aex(machine, lp, cpu, event);

  // The frame's URSP and URBP are where the enclave can write: what EENTER put there, or something else.
  const std::uint64_t ursp = saved.ursp;
  const std::uint64_t urbp = saved.urbp;
  cpu.gpr.fill(0);
  cpu[Reg::Rax] = static_cast<std::uint64_t>(EncluLeaf::Eresume);
  cpu[Reg::Rbx] = lp.tcs_address.value();
  cpu[Reg::Rcx] = tcs.aep;
  cpu[Reg::Rsp] = ursp;
  cpu[Reg::Rbp] = urbp;
  cpu.rip = tcs.aep;
  cpu.rflags &=
      ~(rflags::kCf | rflags::kPf | rflags::kAf | rflags::kZf | rflags::kSf | rflags::kOf | rflags::kRf);
  cpu.pending_single_step = false;
  load_synthetic_xstate(machine.config, lp.xfrm, event.exception ? std::optional(event.vector) : std::nullopt,
                        cpu.xsave);

  tcs.atomic_cssa().fetch_add(1, std::memory_order_release);
  leave_enclave(lp, cpu);

  const bool page_fault = event.exception && event.vector == Vector::PF;
  return page_fault ? event.address.page() : event.address;
}

}  // namespace enclume::arch
