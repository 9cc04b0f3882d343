// SPDX-License-Identifier: Apache-2.0
// The half of Sgx that raises an exception: the exit it makes of an enclave, and what Linux does with it.
#include <cstring>

#include "arch/enclu/enclu.h"
#include "arch/enclu/ssa.h"
#include "engine/engine.h"
#include "engine/sgx.h"
#include "engine/trace/hooks.h"
#include "kernel/fixup/fixup.h"

namespace enclume::engine {

namespace {

using arch::CpuState;
using arch::Fault;
using arch::Vector;

/// The x87 and SSE words that Linux's math_error() looks at.
void read_fpu_words(const arch::XsaveImage& image, kernel::TrapFrame& trap) {
  if (image.area == nullptr) {
    return;
  }
  std::uint64_t xstate_bv;
  std::memcpy(&xstate_bv, image.area + 512, sizeof(xstate_bv));
  if ((xstate_bv & 1) != 0) {
    std::memcpy(&trap.fcw, image.area, sizeof(trap.fcw));
    std::memcpy(&trap.fsw, image.area + 2, sizeof(trap.fsw));
  }
  std::memcpy(&trap.mxcsr, image.area + 24, sizeof(trap.mxcsr));
}

}  // namespace

/// Raises `fault` where `cpu` stands: AEX if inside, then Linux's decision. True if the program goes on
/// without a signal.
bool Sgx::raise(Interruption& it, CpuState& cpu, Fault fault, bool trap_class,
                std::optional<kernel::FaultResolution> resolution, siginfo_t& report, std::uint64_t dr6) {
  ThreadBlock& block = it.block;
  kernel::TrapFrame trap;
  trap.vector = fault.vector;
  trap.error_code = fault.error_code;
  trap.address = fault.address;
  const arch::SsaFrameCache frame = block.lp.ssa;
  const std::uint32_t enclave_number = number_of_enclave(block.lp.secs);
  const bool inside = block.lp.enclave_mode;
  if (inside) {
    arch::AexEvent event;
    event.exception = true;
    event.vector = fault.vector;
    event.error_code = fault.error_code;
    event.address = fault.address;
    event.save_rf = !trap_class;
    TracedAex traced(block.lp, cpu);
    trap.address = arch::aex(kernel_.machine(), block.lp, cpu, event);
    leave(block, it.uc);
    traced.left(fault);
    engine().stats.add_aex(block.slot, static_cast<unsigned>(fault.vector));
  }
  trap.rip = LinearAddress(cpu.rip);
  read_fpu_words(cpu.xsave, trap);
  trap.dr6 = dr6;
  if (fault.vector == Vector::PF) {
    const TracedPageFault traced(kernel_, fault);
    trap.page_fault = resolution ? *resolution
                      : engine().injector.takes_bus_error(fault.address)
                          ? kernel::FaultResolution::Bus
                          : traced.decided(kernel::handle_enclave_fault(kernel_, fault.address,
                                                                        fault.error_code, it.evictions));
    if (inside && trap.page_fault == kernel::FaultResolution::Resolved && !kernel_.maps_on_touch) {
      // The user does not want benign faults to be told from interrupts.
      if (kernel::Enclave* enclave = enclaves_.find(enclave_number)) {
        kernel::clear_exitinfo(kernel_, *enclave, frame.gpr);
      }
    }
  }
  const kernel::FixupState state = mm_.fixup_state();
  if (state.handler) {
    read_code(trap);
  }
  const kernel::Delivery delivery = kernel::deliver(mm_.design, state, trap);
  trace_delivery(delivery, mm_.design, trap, cpu, block, it.uc.sigmask);
  bool settled = true;
  if (engine().stats.on()) [[unlikely]] {
    const bool resolved = fault.vector == Vector::PF && trap.page_fault == kernel::FaultResolution::Resolved;
    engine().stats.add(block.slot, resolved                                          ? Count::FaultResolved
                                   : std::holds_alternative<kernel::Fixup>(delivery) ? Count::FaultFixedUp
                                                                                     : Count::FaultSignalled);
  }
  if (const auto* fixup = std::get_if<kernel::Fixup>(&delivery)) {
    it.redirected = true;
    cpu.rip = fixup->rip.value();
    cpu[arch::Reg::Rdi] = fixup->rdi;
    cpu[arch::Reg::Rsi] = fixup->rsi;
    cpu[arch::Reg::Rdx] = fixup->rdx;
    if (fixup->rcx) {
      cpu[arch::Reg::Rcx] = *fixup->rcx;
    }
  } else if (const auto* signal = std::get_if<kernel::TrapSignal>(&delivery)) {
    report = siginfo_t{};
    report.si_signo = signal->signo;
    report.si_code = signal->si_code;
    report.si_addr = reinterpret_cast<void*>(signal->addr.value());
    if (signal->si_code == SEGV_PKUERR) {
      const auto vma = vmas_.find(fault.address);
      report.si_pkey = vma ? vma->pkey : it.info.si_pkey;
    }
    it.uc.mcontext.trapno = static_cast<std::uint64_t>(fault.vector);
    it.uc.mcontext.err = kernel::sanitized_error_code(trap);
    if (fault.vector == Vector::PF) {
      it.uc.mcontext.cr2 = trap.address.value();
    }
    settled = false;
  }
  finish(it, cpu);
  return settled;
}

/// The bytes at RIP as the kernel would read them from the program: of the EPC it sees the abort page.
void Sgx::read_code(kernel::TrapFrame& trap) const {
  const LinearAddress last = trap.rip + (trap.code.size() - 1);
  if (vmas_.find(trap.rip) || vmas_.find(last) ||
      enclume_guarded_copy(trap.code.data(), reinterpret_cast<const void*>(trap.rip.value()),
                           trap.code.size()) != 0) {
    trap.code = {};
  }
}

}  // namespace enclume::engine
