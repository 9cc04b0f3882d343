// SPDX-License-Identifier: Apache-2.0
// The half of Sgx that lets enclave code at its pages: natively, or an instruction at a time.
#include <cstring>

#include "arch/enclu/debug.h"
#include "arch/enclu/enclu.h"
#include "arch/structs/tcs.h"
#include "engine/decode/decoder.h"
#include "engine/engine.h"
#include "engine/sgx.h"
#include "engine/signals/context.h"
#include "engine/step/illegal.h"
#include "kernel/spaces.h"

namespace enclume::engine {

using arch::Access;
using arch::CpuState;
using arch::Fault;
using arch::Vector;

void Sgx::watch_execution(bool strict) {
  branches_ = engine().features.amd ? decode::BranchRule::Amd : decode::BranchRule::Intel;
  strict_ = strict;
  if (!strict) {
    native_.look_for(silent_in_enclave(config_.sgx2, engine().features.cpuid_faulting), branches_);
  }
}

std::optional<decode::Instruction> Sgx::instruction_at(const ThreadBlock& block, LinearAddress rip) {
  std::byte code[decode::kMaxInstructionLength];
  const std::size_t size = code_bytes(block, rip, code);
  const auto decoded = decode::decode({code, size}, branches_);
  return decoded ? std::optional(*decoded) : std::nullopt;
}

bool Sgx::is_illegal(const decode::Instruction& instruction) const {
  return illegal_in_enclave(config_.sgx2).contains(instruction.cls);
}

/// The registers of enclave code as a signal found them, without what a step has done to them.
CpuState Sgx::load_enclave_state(const UContext& uc, std::uint64_t fs, std::uint64_t gs, ThreadBlock& block,
                                 bool debug_trap, StepEnd& end) {
  CpuState cpu = load_state(uc, fs, gs);
  end = end_step(block.step, cpu, debug_trap, block.lp.dbgoptin);
  const LinearAddress top = cpu.address(arch::Reg::Rsp);
  if (end.clear_pushed_tf) {
    std::byte high{};
    peek(top + 1, &high, 1);
    high &= std::byte{0xfe};
    poke(top + 1, &high, 1);
  }
  if (end.return_address != 0) {
    poke(top, &end.return_address, sizeof(end.return_address));
  }
  if (end.open_page && !end.taken) {
    close_page(end.page);
  }
  return cpu;
}

/// Memory of the program as enclave code sees it: EPC pages by their alias, since host code may be locked
/// out.
bool Sgx::peek(LinearAddress from, void* to, std::size_t size) {
  if (const arch::EpcPage page = epc_page_at(from); page && from.page() == (from + (size - 1)).page()) {
    std::memcpy(to, page.data + from.page_offset(), size);
    return true;
  }
  return process_.copy_from_user(to, from, size);
}

void Sgx::poke(LinearAddress to, const void* from, std::size_t size) {
  const auto* bytes = static_cast<const std::byte*>(from);
  for (std::size_t i = 0; i < size; ++i) {
    if (const arch::EpcPage page = epc_page_at(to + i)) {
      page.data[(to + i).page_offset()] = bytes[i];
    } else {
      (void)process_.copy_to_user(to + i, bytes + i, 1);
    }
  }
}

void Sgx::close_page(LinearAddress page) {
  if (const auto vma = vmas_.find(page)) {
    native_.allow_data(*vma, page);
  }
}

LinearAddress output_of_enclu(const CpuState& cpu) {
  switch (static_cast<arch::EncluLeaf>(static_cast<std::uint32_t>(cpu[arch::Reg::Rax]))) {
    case arch::EncluLeaf::Ereport:
      return cpu.address(arch::Reg::Rdx);
    case arch::EncluLeaf::Egetkey:
      return cpu.address(arch::Reg::Rcx);
    default:
      return {};
  }
}

LinearAddress mended_by_enclu(const ThreadBlock& block, const CpuState& cpu) {
  if (!block.lp.enclave_mode || arch::tcs_of(block.lp.tcs).cssa == 0) {
    return {};
  }
  switch (static_cast<arch::EncluLeaf>(static_cast<std::uint32_t>(cpu[arch::Reg::Rax]))) {
    case arch::EncluLeaf::Eaccept:
    case arch::EncluLeaf::Eacceptcopy:
    case arch::EncluLeaf::Emodpe:
      return cpu.address(arch::Reg::Rcx);
    default:
      return {};
  }
}

void Sgx::content_changed(LinearAddress address) {
  if (const auto vma = vmas_.find(address); vma && native_.apart(*vma, address.page())) {
    native_.apply(*vma->enclave, vma->enclave->page_number(address.page()), 1);
  }
}

// -- Page faults that the EPCM does not ask for
// ----------------------------------------------------------------

bool Sgx::enclave_page_fault(Interruption& it, CpuState& cpu, siginfo_t& report) {
  ThreadBlock& block = it.block;
  const LinearAddress address(it.uc.mcontext.cr2);
  const auto native = static_cast<std::uint32_t>(it.uc.mcontext.err);
  const Access access = access_of(native);
  if (!block.lp.elrange.contains(address)) {
    if (access == Access::Execute) {
      return raise(it, cpu, arch::general_protection(), false, {}, report);
    }
    if (vmas_.find(address)) {
      return page_of_others(it, cpu, report, address, access);
    }
    return raise(it, cpu, {Vector::PF, native, address}, false, resolution_of(it.info), report);
  }
  kernel::UserSpace space(kernel_);
  const auto operand = space.walk(address, access);
  if (!operand) {
    const Retry retry{cpu.rip, address, access};
    if (add_page_inside(it, cpu, operand.error())) {
      // There is only the second of the two exits then, which writes the same SSA frame once more.
      it.evictions = kernel_.shared.evictions.load();
      if (const auto refused = refused_again(block, retry)) {
        return raise(it, cpu, *refused, false, {}, report);
      }
    }
    if (!raise(it, cpu, operand.error(), false, {}, report)) {
      return false;
    }
    if (access != Access::Execute) {
      give_data(address);
    }
    return !enclu_comes_next(it, cpu) || run_enclu(it, cpu, report, &retry);
  }
  if (const auto key = refused_by_key(it.uc, address, access); key) {
    return raise(it, cpu, *key, false, {}, report);
  }
  if (const auto allowed = arch::check_enclave_access(block.lp, operand->epc, address, access); !allowed) {
    return raise(it, cpu, allowed.error(), false, {}, report);
  }
  // Allowed: only the native permissions were behind, or the enclave has loaded a PKRU that closes the key
  // which it knows nothing of. Hardware takes no fault here. (On a page that is not there yet natively the
  // key's refusal does not show in the error code.)
  set_frame_pkru(it.uc, enclave_pkru(block, frame_pkru(it.uc)));
  if (const auto vma = vmas_.find(address)) {
    return let_access(it, cpu, report, *vma, address, access);
  }
  return go_on(it, cpu, report);
}

/// How an access ends whose page EAUG has just added: nothing is allowed before the enclave has accepted it.
/// (A key of the program's may have its say first: that is left to the processor.)
std::optional<Fault> Sgx::refused_again(const ThreadBlock& block, const Retry& retry) {
  const auto vma = vmas_.find(retry.address);
  if (!vma || vma->pkey != 0) {
    return std::nullopt;
  }
  kernel::UserSpace space(kernel_);
  const auto operand = space.walk(retry.address, retry.access);
  if (!operand || !operand->epc || !operand->epc.epcm->load().pending) {
    return std::nullopt;
  }
  const auto allowed = arch::check_enclave_access(block.lp, operand->epc, retry.address, retry.access);
  return allowed ? std::nullopt : std::optional(allowed.error());
}

/// After the kernel has mapped the page: its native permissions too, which else would cost another fault.
void Sgx::give_data(LinearAddress address) {
  const auto vma = vmas_.find(address);
  const LinearAddress page = address.page();
  if (vma && vma->enclave->mapped() && !native_.apart(*vma, page) &&
      !kernel::effective_protection(*vma->enclave, vma->enclave->page_number(page), vma->prot).none()) {
    native_.allow_data(*vma, page);
  }
}

/// The #PF by a key that the program gave the page, if PKRU of the frame refuses the access. Asked of pages
/// that are there, and before the EPCM (SDM Vol. 3D, "Interactions with Protection Keys").
std::optional<Fault> Sgx::refused_by_key(const UContext& uc, LinearAddress address, Access access) const {
  const auto vma = vmas_.find(address);
  if (!vma || vma->pkey == 0 || access == Access::Execute ||
      !pkru_denies(frame_pkru(uc), vma->pkey, access == Access::Write)) {
    return std::nullopt;
  }
  const std::uint32_t write = access == Access::Write ? arch::pfec::kWrite : 0;
  return Fault{Vector::PF, arch::pfec::kPresent | arch::pfec::kUser | arch::pfec::kProtectionKey | write,
               address};
}

/// Gives a page of the enclave the native permissions for this access, and goes on.
bool Sgx::let_access(Interruption& it, CpuState& cpu, siginfo_t& report, const kernel::Vma& vma,
                     LinearAddress address, Access access) {
  const LinearAddress page = address.page();
  const LinearAddress rip(cpu.rip);
  if (access == Access::Execute) {
    end_own_hold(it.block, page, cpu.rip);
    // An instruction that crosses into the page begins in the one before.
    LinearAddress start = rip;
    if (rip.page() != page) {
      const auto crossing = instruction_at(it.block, rip);
      start = rip + (crossing ? crossing->length : 0);
    }
    const bool allowed = native_.allow_fetch(
        vma, page,
        start.page() == page ? std::optional(static_cast<std::uint16_t>(start.page_offset())) : std::nullopt);
    return allowed ? go_on(it, cpu, report) : step_on_page(it, cpu, report, vma, page, true);
  }
  if (native_.apart(vma, page)) {
    const auto instruction = instruction_at(it.block, rip);
    const LinearAddress last = rip + ((instruction ? instruction->length : 1) - 1U);
    if (rip.page() == page || last.page() == page) {
      return step_on_page(it, cpu, report, vma, page, true);  // it wants the page for both
    }
  }
  native_.allow_data(vma, page);
  return go_on(it, cpu, report);
}

/// One instruction that lies, at least in part, on a page of its own to be read or written, or on one that
/// has to show its own bytes. It is looked at first: what the patches would have caught is caught here.
/// `fresh`: the page may still be mapped for execution.
bool Sgx::step_on_page(Interruption& it, CpuState& cpu, siginfo_t& report, const kernel::Vma& vma,
                       LinearAddress page, bool fresh) {
  std::byte code[decode::kMaxInstructionLength];
  const std::size_t size = code_bytes(it.block, LinearAddress(cpu.rip), code);
  const auto instruction = decode::decode({code, size}, branches_);
  if (instruction && is_illegal(*instruction)) {
    return undefined(it, cpu, report, &*instruction);
  }
  if (instruction && instruction->cls == decode::InstructionClass::Enclu) {
    return run_enclu(it, cpu, report);
  }
  if (native_.has_watches()) {
    keep_jumps_from(it.block, cpu);
  }
  const auto elsewhere = instruction ? place_out_of_line({code, size}, *instruction, cpu.rip, it.block.slot)
                                     : std::optional<OutOfLine>{};
  if (!elsewhere) {
    native_.allow_all(vma, page);  // other threads may meanwhile execute it unpatched
  } else if (fresh) {
    native_.allow_data(vma, page);
  }
  arm_step(it.block.step, cpu, instruction ? &*instruction : nullptr, elsewhere ? &*elsewhere : nullptr);
  it.block.step.page = page;
  it.block.step.open_page = !elsewhere;
  finish(it, cpu);
  return true;
}

bool Sgx::after_step(Interruption& it, CpuState& cpu, siginfo_t& report, const StepEnd& end) {
  it.block.traced = 0;
  const LinearAddress rip(cpu.rip);
  if (end.open_page) {
    close_page(end.page);
  }
  if (end.enclave_tf) {
    return raise(it, cpu, {Vector::DB, 0, {}}, true, {}, report, arch::dr6::kSingleStep);
  }
  if (interrupt_due(it.block)) {
    return interrupt_here(it, cpu);
  }
  if (const auto vma = vmas_.find(end.page); vma && rip.page() == end.page) {
    end_own_hold(it.block, end.page, cpu.rip);
    if (end.again || !native_.allow_fetch(*vma, end.page, static_cast<std::uint16_t>(rip.page_offset()))) {
      return step_on_page(it, cpu, report, *vma, end.page, false);
    }
  }
  return go_on(it, cpu, report);
}

// -- Instructions that are trapped by a patch
// ----------------------------------------------------------------------

/// #UD in enclave code. `instruction` is what stands there, by the page's own bytes; null if it is none.
bool Sgx::undefined(Interruption& it, CpuState& cpu, siginfo_t& report,
                    const decode::Instruction* instruction) {
  ThreadBlock& block = it.block;
  if (instruction != nullptr) {
    const LinearAddress rip(cpu.rip);
    const LinearRange span{rip, rip + instruction->length};
    const auto vma = vmas_.find(rip);
    const bool ud = instruction->cls == decode::InstructionClass::Ud;  // needs no patch to be undefined
    const bool legal = !is_illegal(*instruction) && !ud;
    if (legal && vma && native_.withdraw_sites(*vma, span)) {
      return go_on(it, cpu, report);  // taken for another instruction: it runs as it is
    }
    const LinearAddress opcode = rip + instruction->opcode_offset;
    if (const auto site_vma = legal || ud ? std::nullopt : vmas_.find(opcode)) {
      if (const auto held = native_.hold(*site_vma, opcode, block.tid)) {
        release_site(block);
        block.site = {opcode.page(), cpu.rip, span.end.value(), *held};
        block.fast.held = 1;
      }
    }
  }
  return raise(it, cpu, arch::undefined_opcode(), false, {}, report);
}

void Sgx::release_site(ThreadBlock& block) {
  if (block.site.page.value() != 0) {
    native_.release(block.site.page, block.site.generation);
    block.site = {};
    block.fast.held = 0;
  }
}

/// Once the thread goes on in the page where it was trapped, or tries again, its handler is over.
void Sgx::end_own_hold(ThreadBlock& block, LinearAddress page, std::uint64_t rip) {
  if (block.site.page == page && (rip == block.site.rip || rip == block.site.next)) {
    release_site(block);
  }
}

}  // namespace enclume::engine
