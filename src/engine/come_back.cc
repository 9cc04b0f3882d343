// SPDX-License-Identifier: Apache-2.0
// The part of Sgx that spares an exit which the next instruction outside, an ERESUME, would take back at
// once.
#include "arch/enclu/enclu.h"
#include "arch/structs/tcs.h"
#include "engine/engine.h"
#include "engine/sgx.h"
#include "engine/signals/pkru.h"

namespace enclume::engine {

using arch::CpuState;
using arch::Fault;
using arch::Vector;

/// Whether an exit here, with nothing for the kernel to tell, would lead to ERESUME and that back to `cpu` as
/// it is: nobody would notice if there was none. Not where somebody counts entries or exits, hears of them,
/// or could stop between the two.
bool Sgx::comes_right_back(const Interruption& it, const CpuState& cpu) {
  const ThreadBlock& block = it.block;
  const arch::LogicalProcessor& lp = block.lp;
  Engine& e = engine();
  if (!joins_leaves_ || e.events.on() || e.stats.on() || e.injector.on() || lp.dbgoptin || lp.save_tf ||
      (cpu.rflags & arch::rflags::kTf) != 0 || block.step.armed || block.site.page.value() != 0 ||
      (lp.xfrm & kPkruFeature) != 0 || block.deferred.load(std::memory_order_relaxed) != 0 ||
      !lp.elrange.contains(LinearAddress(cpu.rip))) {
    return false;
  }
  arch::Tcs& tcs = arch::tcs_of(lp.tcs);
  const LinearAddress aep(tcs.aep);
  std::byte code[15];
  return (tcs.atomic_flags().load(std::memory_order_relaxed) & arch::tcs_flags::kAexNotify) == 0 &&
         !lp.elrange.contains(aep) && is_enclu(code, code_bytes(block, aep, code));
}

/// For a #PF that is about to be raised inside: adds the page that it is about (EAUG), if that is what comes
/// of it and then the thread would go on here. An exit to come has still to be recorded in the SSA frame.
bool Sgx::add_page_inside(Interruption& it, const CpuState& cpu, const Fault& fault) {
  return fault.vector == Vector::PF && comes_right_back(it, cpu) &&
         kernel::augment_at_once(kernel_, fault.address, fault.error_code);
}

/// What the exit would have left in the SSA frame.
void Sgx::record_exit(const ThreadBlock& block, const CpuState& cpu, const Fault& fault) {
  arch::AexEvent event;
  event.exception = true;
  event.vector = fault.vector;
  event.error_code = fault.error_code;
  event.address = fault.address;
  event.save_rf = true;
  arch::record_aex(kernel_.machine(), block.lp, cpu, event);
  if (!kernel_.maps_on_touch) {
    kernel::forget_exitinfo(block.lp.ssa.gpr);
  }
}

}  // namespace enclume::engine
