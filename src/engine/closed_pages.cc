// SPDX-License-Identifier: Apache-2.0
// The half of Sgx that keeps EPC pages from those whom they are closed to: host code, and other enclaves.
#include "arch/enclu/debug.h"
#include "engine/abort_page/abort_page.h"
#include "engine/bases.h"
#include "engine/engine.h"
#include "engine/pages/enclave_keys.h"
#include "engine/sgx.h"
#include "engine/signals/context.h"
#include "engine/signals/program_rights.h"
#include "kernel/spaces.h"
#include "kernel/vma/effective_protection.h"

namespace enclume::engine {

using arch::Access;
using arch::CpuState;
using arch::Fault;
using arch::Vector;

namespace {

/// What shows the abort page to the code that runs.
struct Closed {
  const kernel::VmaTable& vmas;
  LinearRange own;  ///< ELRANGE in enclave mode, else empty

  static bool is(const void* context, LinearAddress at) {
    const auto& closed = *static_cast<const Closed*>(context);
    return !closed.own.contains(at) && closed.vmas.find(at).has_value();
  }
};

}  // namespace

/// PKRU for enclave code, made from what host code has (or enclave code has loaded): open are the pages of
/// the enclave that the thread is in, and closed those of others and the copies that are for execution only.
Pkru Sgx::enclave_pkru(const ThreadBlock& block, Pkru pkru) const {
  const kernel::Enclave* const own = enclaves_.find(number_of_enclave(block.lp.secs));
  return inside_fence(pkru, enclume_epc_fence, own != nullptr ? own_fence(*own) : 0);
}

bool Sgx::host_page_fault(Interruption& it, siginfo_t& report) {
  const LinearAddress address(it.uc.mcontext.cr2);
  if ((it.uc.mcontext.err & arch::pfec::kInstruction) != 0 && at_enclu(it)) {
    // An ENCLU that can be read and not executed. It has not run, but RIP is there: for the kernel that is
    // enough.
    CpuState cpu = load_state(it.uc, fs_base(), gs_base());
    const Fault fault{Vector::PF, static_cast<std::uint32_t>(it.uc.mcontext.err), address};
    return raise(it, cpu, fault, false, resolution_of(it.info), report);
  }
  if (!vmas_.find(address)) {
    return false;
  }
  CpuState cpu = load_state(it.uc, fs_base(), gs_base());
  return page_of_others(it, cpu, report, address, access_of(static_cast<std::uint32_t>(it.uc.mcontext.err)));
}

/// An access to an EPC page that is not the running code's own.
bool Sgx::page_of_others(Interruption& it, CpuState& cpu, siginfo_t& report, LinearAddress address,
                         Access access) {
  kernel::UserSpace space(kernel_);
  const auto operand = space.walk(address, access);
  if (!operand) {
    return raise(it, cpu, operand.error(), false, {}, report);
  }
  if (const auto key = refused_by_key(it.uc, address, access); key) {
    return raise(it, cpu, *key, false, {}, report);
  }
  if (access == Access::Execute) {
    // The abort page is fetched: FF FF is no instruction.
    return raise(it, cpu, arch::undefined_opcode(), false, {}, report);
  }
  if (engine().features.epc_pkey < 0) {
    // Nothing keeps others out of the EPC here (docs/fidelity.md), so let them in where its enclave may be.
    if (const auto vma = vmas_.find(address)) {
      const std::uint64_t page = vma->enclave->page_number(address.page());
      const kernel::Protection now = kernel::effective_protection(*vma->enclave, page, vma->prot);
      if (now.covers(access == Access::Write ? kernel::kProtWrite : kernel::kProtRead)) {
        native_.allow_data(*vma, address.page());
        return it.block.lp.enclave_mode ? go_on(it, cpu, report) : (finish(it, cpu), true);
      }
    }
  }
  return on_abort_page(it, cpu, report, address, access);
}

/// The instruction at RIP, with the abort page where it touches what is closed to it.
bool Sgx::on_abort_page(Interruption& it, CpuState& cpu, siginfo_t& report, LinearAddress address,
                        Access access) {
  ThreadBlock& block = it.block;
  SigContext& m = it.uc.mcontext;
  const bool inside = block.lp.enclave_mode;
  const Closed closed{vmas_, inside ? block.lp.elrange : LinearRange{}};
  std::byte code[15];
  const std::size_t size = code_bytes(block, LinearAddress(cpu.rip), code);
  AbortPageOutcome outcome;
  {
    const kernel::Enclave* const own = inside ? enclaves_.find(number_of_enclave(block.lp.secs)) : nullptr;
    const ProgramRights rights(frame_pkru(it.uc), own != nullptr ? own_fence(*own) : 0);
    outcome = emulate_abort_page(cpu, {{code, size}, address, block.slot, &Closed::is, &closed});
  }
  switch (outcome.end) {
    case AbortPageEnd::Done:
      cpu.rflags &= ~arch::rflags::kRf;
      if ((cpu.rflags & arch::rflags::kTf) != 0) {
        return raise(it, cpu, {Vector::DB, 0, {}}, true, {}, report, arch::dr6::kSingleStep);
      }
      if (inside) {
        return go_on(it, cpu, report);
      }
      finish(it, cpu);
      return true;
    case AbortPageEnd::Fault:
      return raise(it, cpu, outcome.fault, false, {}, report);
    case AbortPageEnd::MemoryFault: {
      const CopyFault& memory = block.copy_fault;
      m.trapno = memory.trapno;
      m.err = memory.err;
      m.cr2 = memory.cr2;
      if (!inside) {
        report = memory.info;
        return false;
      }
      if (static_cast<Vector>(memory.trapno) != Vector::PF) {
        return raise(it, cpu, {static_cast<Vector>(memory.trapno), 0, {}}, false, {}, report);
      }
      const LinearAddress ordinary(memory.cr2);
      return block.lp.elrange.contains(ordinary)
                 ? enclave_page_fault(it, cpu, report)  // mended, the instruction is repeated
                 : raise(it, cpu, {Vector::PF, static_cast<std::uint32_t>(memory.err), ordinary}, false,
                         resolution_of(memory.info), report);
    }
    case AbortPageEnd::NotEmulated:
      break;
  }
  if (!inside) {
    return false;
  }
  const std::uint32_t write = access == Access::Write ? arch::pfec::kWrite : 0;
  return raise(it, cpu, {Vector::PF, arch::pfec::kPresent | arch::pfec::kUser | write, address}, false,
               kernel::FaultResolution::BadAccess, report);
}

}  // namespace enclume::engine
