// SPDX-License-Identifier: Apache-2.0
// The half of Sgx that makes happen what `--inject` asks for.
#include "arch/enclu/enclu.h"
#include "engine/control/lose_epc.h"
#include "engine/engine.h"
#include "engine/sgx.h"
#include "engine/trace/hooks.h"
#include "kernel/vma/first_touch.h"

namespace enclume::engine {

using arch::CpuState;
using arch::Fault;
using arch::Vector;

namespace {

bool is_eenter(const CpuState& cpu) {
  return static_cast<std::uint32_t>(cpu[arch::Reg::Rax]) ==
         static_cast<std::uint32_t>(arch::EncluLeaf::Eenter);
}

/// As EENTER itself would raise it: #PF as at a TCS that the EPCM refuses.
Fault entry_fault(Vector vector, LinearAddress tcs) {
  switch (vector) {
    case Vector::PF:
      return arch::epcm_fault(tcs, arch::pfec::kUser);
    case Vector::UD:
      return arch::undefined_opcode();
    default:
      return arch::general_protection();
  }
}

}  // namespace

/// Before an ENCLU of host code: does what is due at this EENTER. The fault that it shall raise, if it shall.
std::optional<Fault> Sgx::inject_at_entry(const CpuState& cpu) {
  Injector& injector = engine().injector;
  if (!injector.on() || !is_eenter(cpu)) [[likely]] {
    return std::nullopt;
  }
  const LinearAddress tcs = cpu.address(arch::Reg::Rbx);
  std::optional<Fault> fault;
  injector.at(Opportunity::Entry, [&](const Injection& i) {
    const auto vma = vmas_.find(tcs);
    const std::uint64_t page = i.value / kPageSize;
    switch (i.event) {
      case Injection::Event::LoseEpc:
        (void)lose_epc_of_machine({});
        break;
      case Injection::Event::EnterFault:
        fault = entry_fault(static_cast<Vector>(i.value), tcs);
        break;
      case Injection::Event::PageFault:
      case Injection::Event::BusError:
        if (vma && vma->enclave->mapped() && kernel::unmap_page(kernel_, *vma->enclave, page) &&
            i.event == Injection::Event::BusError) {
          injector.refuse_page(vma->enclave->page_address(page));
        }
        break;
      case Injection::Event::EinitCode:
      case Injection::Event::EpcFull:
      case Injection::Event::Interrupt:
      case Injection::Event::BackingFull:
        break;  // at other opportunities
    }
  });
  return fault;
}

/// Strict mode, after an instruction: whether an interrupt comes now.
bool Sgx::interrupt_due(ThreadBlock& block) {
  if (!engine().injector.wants_instructions()) [[likely]] {
    return false;
  }
  bool due = false;
  engine().injector.at(Opportunity::Instruction, ++block.instructions, [&](const Injection&) { due = true; });
  return due;
}

/// An asynchronous exit where `cpu` stands, with nothing for the host to handle: it goes on at the AEP.
bool Sgx::interrupt_here(Interruption& it, CpuState& cpu) {
  TracedAex traced(it.block.lp, cpu);
  arch::aex(kernel_.machine(), it.block.lp, cpu, arch::AexEvent{});
  leave(it.block, it.uc);
  traced.left(trace::Interrupt{});
  engine().stats.add(it.block.slot, Count::AexInterrupt);
  finish(it, cpu);
  return true;
}

}  // namespace enclume::engine
