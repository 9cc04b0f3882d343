// SPDX-License-Identifier: Apache-2.0
#include "engine/sgx.h"

#include <cstring>

#include "arch/enclu/debug.h"
#include "arch/enclu/enclu.h"
#include "arch/enclu/ssa.h"
#include "arch/epc/tracking.h"
#include "arch/structs/tcs.h"
#include "base/panic.h"
#include "base/syscall.h"
#include "engine/abort_page/abort_page.h"
#include "engine/bases.h"
#include "engine/debugger.h"
#include "engine/decode/decoder.h"
#include "engine/engine.h"
#include "engine/fast/doors.h"
#include "engine/fast/entry.h"
#include "engine/fast/exit_sites.h"
#include "engine/signals/context.h"
#include "engine/signals/program_rights.h"
#include "engine/trace/hooks.h"
#include "kernel/spaces.h"
#include "kernel/vma/effective_protection.h"

namespace enclume::engine {

namespace {

using arch::Access;
using arch::CpuState;
using arch::Fault;
using arch::Vector;

constexpr int kSysUserDispatch = 2;  // si_code of SIGSYS
constexpr std::uint64_t kSyscallLength = 2;
constexpr std::uint64_t kIntNLength = 2;
constexpr std::uint32_t kKickMagic = 0x4b43494b;

bool is_enclu(const std::byte* code, std::size_t size) {
  return size >= kernel::kEncluBytes.size() &&
         std::memcmp(code, kernel::kEncluBytes.data(), kernel::kEncluBytes.size()) == 0;
}

/// The same at an instruction that has faulted: INT3 in the first byte cannot have, so a debugger has put it
/// there since. gdb does, at the ENCLU itself, when it passes the engine's signal on during a step.
bool was_enclu(const std::byte* code, std::size_t size) {
  return is_enclu(code, size) ||
         (size >= kernel::kEncluBytes.size() && code[0] == std::byte{0xcc} &&
          std::memcmp(code + 1, kernel::kEncluBytes.data() + 1, kernel::kEncluBytes.size() - 1) == 0);
}

/// The number of the enclave that an EPC page belongs to.
std::uint32_t enclave_of(const arch::EpcPage& page) {
  return static_cast<std::uint32_t>(page.address.value >> kernel::kEpcmIndexBits);
}

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

Count counted_as(std::uint32_t leaf, bool completed, bool was_inside, bool is_inside) {
  if (was_inside) {
    return is_inside || !completed ? Count::OtherLeaf : Count::Eexit;
  }
  if (!completed) {
    return Count::EntryFault;
  }
  return leaf == static_cast<std::uint32_t>(arch::EncluLeaf::Eenter) ? Count::Eenter : Count::Eresume;
}

}  // namespace

Access access_of(std::uint64_t error_code) {
  if ((error_code & arch::pfec::kInstruction) != 0) {
    return Access::Execute;
  }
  return (error_code & arch::pfec::kWrite) != 0 ? Access::Write : Access::Read;
}

kernel::FaultResolution resolution_of(const siginfo_t& info) {
  if (info.si_signo == SIGBUS) {
    return kernel::FaultResolution::Bus;
  }
  switch (info.si_code) {
    case SEGV_ACCERR:
      return kernel::FaultResolution::BadAccess;
    case SEGV_PKUERR:
      return kernel::FaultResolution::BadKey;
    default:
      return kernel::FaultResolution::BadMapping;
  }
}

bool is_kick(int signo, const siginfo_t& info) {
  return signo == SIGSYS && info.si_code == SI_QUEUE &&
         reinterpret_cast<std::uint64_t>(info.si_value.sival_ptr) == kKickMagic;
}

void kick_thread(int process, int tid) {
  siginfo_t info{};
  info.si_signo = SIGSYS;
  info.si_code = SI_QUEUE;
  info.si_pid = sys::getpid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(std::uint64_t{kKickMagic});
  sys::raw(__NR_rt_tgsigqueueinfo, process, tid, SIGSYS, sys::arg(&info));
}

Sgx::Sgx(const arch::MachineConfig& config, kernel::KernelShared& shared) noexcept
    : config_(config),
      enclaves_(process_, shared),
      vmas_(process_),
      kernel_{process_, config_, shared, enclaves_, vmas_, mm_},
      native_(kernel_) {}

void Sgx::after_fork() {
  enclaves_.after_fork_in_child();
  vmas_.after_fork_in_child();
  native_.after_fork_in_child();
}

Pkru enclave_pkru(Pkru pkru) {
  return inside_fence(pkru, enclume_epc_fence) | fence_of(engine().features.execute_only_pkey);
}

// -- Transitions
// -----------------------------------------------------------------------------------------------

void Sgx::enter(ThreadBlock& block, UContext& uc) {
  block.entered_at = engine().stats.now();
  block.host_fs = block.lp.host_fs_base;
  block.host_gs = block.lp.host_gs_base;
  block.host_pkru = frame_pkru(uc);
  block.xfrm = block.lp.xfrm;
  set_frame_pkru(uc, enclave_pkru(block.host_pkru));
  if (kernel::Enclave* enclave = enclaves_.find(enclave_of(block.lp.secs)); enclave != nullptr) {
    native_.sync(*enclave);
  }
  remember_entry(block, kernel_, arch::tcs_of(block.lp.tcs).aep, uc.mcontext.rsp);
}

void Sgx::leave(ThreadBlock& block, UContext& uc) {
  set_frame_pkru(uc, pkru_after_exit(block.xfrm, block.host_pkru, frame_pkru(uc), enclume_epc_fence));
  if (engine().stats.on()) [[unlikely]] {
    engine().stats.add(block.slot, Count::TicksInside, engine().stats.now() - block.entered_at);
  }
  block.traced = 0;
  block.fast.door = nullptr;
  block.inside.store(0, std::memory_order_seq_cst);
  block.exits.fetch_add(1, std::memory_order_seq_cst);
}

/// After EEXIT by a trap: the next one from there, by a thread that has been remembered, needs none.
void Sgx::remember_exit(ThreadBlock& block, LinearAddress enclu) {
  if (enclume_fast_on == 0 || strict_) {
    return;
  }
  // A selector costs a system call that interrupts all of the process's threads: not for a thread that soon
  // ends.
  constexpr std::uint64_t kExitsBeforeSelector = 3;
  if (++block.fast.trapped_exits >= kExitsBeforeSelector) {
    give_selector(block);
  }
  if (const auto vma = no_selectors() ? std::nullopt : vmas_.find(enclu)) {
    native_.leave_directly(*vma, enclu, block.tid);
  }
}

/// Writes the registers back and says in which mode the handler returns.
void Sgx::finish(Interruption& it, CpuState& cpu) {
  store_state(it.uc, cpu, it.plan);
  it.plan.enclave = it.block.lp.enclave_mode ? 1 : 0;
  if (it.plan.enclave != 0 && !engine().features.fsgsbase) {
    set_bases(cpu.fs_base, cpu.gs_base);
  }
}

bool Sgx::run_enclu(Interruption& it, CpuState& cpu, siginfo_t& report, const Retry* retry) {
  ThreadBlock& block = it.block;
  if (!block.lp.enclave_mode) {
    if (const auto fault = inject_at_entry(cpu)) {
      return raise(it, cpu, *fault, false, {}, report);
    }
  }
  bool resolved = false;  // a page fault of this very instruction, or of the one before it
  for (;;) {
    const LinearAddress mended = mended_by_enclu(block, cpu);
    const bool was_inside = block.lp.enclave_mode;
    const LinearAddress enclu(cpu.rip);
    if (!was_inside) {
      if (const auto vma = vmas_.find(cpu.address(arch::Reg::Rbx)); vma && vma->enclave->mapped()) {
        block.inside.store(vma->enclave->secs_page().address.value, std::memory_order_seq_cst);
      }
    }
    const LinearAddress output = was_inside ? output_of_enclu(cpu) : LinearAddress{};
    const auto leaf = static_cast<std::uint32_t>(cpu[arch::Reg::Rax]);
    it.evictions = kernel_.shared.evictions.load();
    kernel::UserSpace space(kernel_);
    TracedEnclu traced(block.lp, cpu);
    const arch::LeafResult result = arch::enclu(kernel_.machine(), block.lp, cpu, space);
    traced.ended(result, block.lp, cpu);
    if (engine().stats.on()) [[unlikely]] {
      engine().stats.add(block.slot, counted_as(leaf, result.has_value(), was_inside, block.lp.enclave_mode));
    }
    if (result) {
      if (!was_inside && block.lp.enclave_mode) {
        enter(block, it.uc);
        if (!block.lp.elrange.contains(LinearAddress(cpu.rip))) {
          // ERESUME to a frame that says so: the first fetch is refused.
          return raise(it, cpu, arch::general_protection(), false, {}, report);
        }
        if (cpu.rip == block.site.next) {
          release_site(block);
        }
      } else if (was_inside && !block.lp.enclave_mode) {
        leave(block, it.uc);
        remember_exit(block, enclu);
      }
      if (output.value() != 0) {
        content_changed(output);
      }
      if (mended.value() != 0) {
        give_data(mended);
      }
      if (cpu.pending_single_step) {
        cpu.pending_single_step = false;
        return raise(it, cpu, {Vector::DB, 0, {}}, true, {}, report, arch::dr6::kSingleStep);
      }
      if (resolved && !was_inside && block.lp.enclave_mode) {
        // Back at the leaf whose operand it was (EACCEPT of a page that was never touched, say).
        resolved = false;
        std::byte code[15];
        if (is_enclu(code, code_bytes(block, LinearAddress(cpu.rip), code))) {
          continue;
        }
      }
      if (block.lp.enclave_mode && retry != nullptr && cpu.rip == retry->rip) {
        // Natively, what is known already would be one more signal.
        if (const auto refused = refused_again(block, *retry)) {
          return raise(it, cpu, *refused, false, {}, report);
        }
      }
      if (block.lp.enclave_mode) {
        return go_on(it, cpu, report);
      }
      finish(it, cpu);
      return true;
    }
    if (!was_inside) {
      block.inside.store(0, std::memory_order_seq_cst);
    }
    if (!was_inside && result.error() == arch::general_protection() &&
        (met_an_eviction(cpu.address(arch::Reg::Rbx), it.evictions) ||
         free_tcs_of_dead_thread(cpu.address(arch::Reg::Rbx)))) {
      continue;
    }
    if (!raise(it, cpu, result.error(), false, {}, report)) {
      return false;
    }
    if (!enclu_comes_next(it, cpu)) {
      return true;
    }
    resolved = true;
  }
}

/// Whether a TCS that seemed to be in use was on its way out of the EPC, or back.
bool Sgx::met_an_eviction(LinearAddress tcs, std::uint64_t evictions) {
  const auto vma = vmas_.find(tcs);
  return vma && kernel::evicted_since(kernel_, *vma->enclave, evictions);
}

/// After a page fault that the kernel resolved, what follows natively would be one more trap at the same
/// ENCLU, or at the AEP's: it can be executed at once, unless the program put something else there, or a
/// signal has arrived meanwhile. That one is delivered here, with the exit as the fault left it. (Not where a
/// fixup leads, though it may be an ENCLU: that can go round for ever, and signals have to come in between.)
bool Sgx::enclu_comes_next(const Interruption& it, const CpuState& cpu) {
  const ThreadBlock& block = it.block;
  std::byte code[15];
  return !it.redirected && !block.lp.enclave_mode && block.deferred.load(std::memory_order_relaxed) == 0 &&
         is_enclu(code, code_bytes(block, LinearAddress(cpu.rip), code));
}

/// A thread that was killed inside an enclave which others share has not left it: on hardware the interrupt
/// that brought the signal did that. Makes its TCS free, as that AEX would have. (The frame holds what an
/// earlier exit left there; the dead thread's registers are gone.)
bool Sgx::free_tcs_of_dead_thread(LinearAddress address) {
  const arch::EpcPage page = epc_page_at(address.page());
  if (!page || page.epcm->load().type != arch::PageType::Tcs) {
    return false;
  }
  std::uint32_t owner = page.epcm->owner.load(std::memory_order_acquire);
  if (owner == 0 || process_.alive(static_cast<int>(owner)) ||
      !page.epcm->owner.compare_exchange_strong(owner, 0)) {
    return false;
  }
  const auto vma = vmas_.find(address);
  if (!vma) {
    return false;
  }
  auto& tcs = *reinterpret_cast<arch::Tcs*>(page.data);
  std::atomic_ref(tcs.cssa).fetch_add(1);
  std::atomic_ref(tcs.state).store(0);
  // The count last: from then on the TCS may be evicted.
  auto& secs = *reinterpret_cast<arch::Secs*>(vma->enclave->secs_page().data);
  const std::uint32_t now = arch::tracking_epoch(secs);
  // Which epoch it entered in is not known. Counts of the one before block the next ETRACK for good, so they
  // go first.
  const std::uint64_t word = std::atomic_ref(arch::tracking_stripe(secs, address)).load();
  if (arch::tracking_word::inside(word, now + 1) != 0) {
    arch::tracking_leave(secs, now + 1, address);
  } else if (arch::tracking_word::inside(word, now) != 0) {
    arch::tracking_leave(secs, now, address);
  }
  return true;
}

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
  const std::uint32_t enclave_number = enclave_of(block.lp.secs);
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

// -- What the handler asks
// -------------------------------------------------------------------------------------

bool may_be_enclu(int signo, const SigContext& m) {
  switch (static_cast<Vector>(m.trapno)) {
    case Vector::UD:
      return signo == SIGILL;
    case Vector::GP:
      return signo == SIGSEGV;
    case Vector::PF:
      return (m.err & arch::pfec::kInstruction) == 0 && (signo == SIGSEGV || signo == SIGBUS);
    default:
      return false;
  }
}

bool Sgx::at_enclu(const Interruption& it) {
  std::byte code[15];
  return was_enclu(code, code_bytes(it.block, LinearAddress(it.uc.mcontext.rip), code));
}

bool Sgx::host_enclu(Interruption& it, siginfo_t& report) {
  if (it.uc.mcontext.rip == reinterpret_cast<std::uint64_t>(enclume_debugger_enclu)) {
    it.uc.mcontext.rip = enclume_debugger.enclu;
  }
  CpuState cpu = load_state(it.uc, fs_base(), gs_base());
  return run_enclu(it, cpu, report);
}

bool Sgx::host_overflow(Interruption& it, siginfo_t& report) {
  CpuState cpu = load_state(it.uc, fs_base(), gs_base());
  return raise(it, cpu, {Vector::OF, 0, {}}, true, {}, report);
}

bool Sgx::enclave_interrupt(Interruption& it) {
  it.plan.fs = it.facts.fs;
  it.plan.gs = it.facts.gs;
  leave_enclave(it.block, it.uc, it.plan, {it.info.si_signo, is_kick(it.info.si_signo, it.info)});
  return false;
}

void Sgx::leave_enclave(ThreadBlock& block, UContext& uc, ExitPlan& plan, trace::Interrupt why) {
  StepEnd step;
  CpuState cpu = load_enclave_state(uc, plan.fs, plan.gs, block, false, step);
  cpu.rflags = (cpu.rflags & ~(arch::rflags::kId | arch::rflags::kNt)) |
               (plan.flags & (arch::rflags::kId | arch::rflags::kNt));
  set_bases(block.host_fs, block.host_gs);
  TracedAex traced(block.lp, cpu);
  arch::aex(kernel_.machine(), block.lp, cpu, arch::AexEvent{});
  leave(block, uc);
  traced.left(why);
  engine().stats.add(block.slot, why.kick ? Count::AexKick : Count::AexInterrupt);
  store_state(uc, cpu, plan);
  plan.enclave = 0;
}

bool Sgx::enclave_fault(int signo, Interruption& it, siginfo_t& report) {
  ThreadBlock& block = it.block;
  SigContext& m = it.uc.mcontext;
  StepEnd step;
  const bool debug_trap = signo == SIGTRAP && it.info.si_code == TRAP_TRACE;
  CpuState cpu = load_enclave_state(it.uc, it.facts.fs, it.facts.gs, block, debug_trap, step);
  ENCLUME_CHECK(block.lp.enclave_mode, {"rip", cpu.rip}, {"signal", static_cast<std::uint64_t>(signo)});

  if (signo == SIGSYS) {
    // RIP is behind the SYSCALL or INT 80h; RCX and R11 are gone (docs/fidelity.md).
    if (it.info.si_code == kSysUserDispatch) {
      cpu.rip -= kSyscallLength;
    }
    return raise(it, cpu, arch::undefined_opcode(), false, {}, report);
  }
  if (step.taken) {
    return after_step(it, cpu, report, step);
  }
  if (const DebugTrap trap = debug_trap_of(signo, it.info, m); trap != DebugTrap::None) {
    return enclave_debug_trap(it, cpu, trap, report);
  }
  const auto vector = static_cast<Vector>(m.trapno);
  const LinearAddress rip(cpu.rip);
  std::byte code[15];
  const std::size_t size =
      block.lp.elrange.contains(rip) && may_be_enclu(signo, m) ? code_bytes(block, rip, code) : 0;
  if (was_enclu(code, size)) {
    return run_enclu(it, cpu, report);
  }
  if (vector == Vector::PF) {
    return enclave_page_fault(it, cpu, report);
  }
  if (!block.lp.elrange.contains(rip)) {
    // A jump out of ELRANGE that native paging let through: the fetch there is what hardware refuses.
    return raise(it, cpu, arch::general_protection(), false, {}, report);
  }
  switch (vector) {
    case Vector::UD: {
      const auto instruction = decode::decode({code, size}, branches_);
      return undefined(it, cpu, report, instruction ? &*instruction : nullptr);
    }
    case Vector::GP: {
      const auto instruction = decode::decode({code, size}, branches_);
      if (instruction && is_illegal(*instruction)) {
        return undefined(it, cpu, report, &*instruction);
      }
      return raise(it, cpu, {Vector::GP, static_cast<std::uint32_t>(m.err), {}}, false, {}, report);
    }
    case Vector::OF: {
      // INT 4 in two bytes: gate 4 is open to user code, so natively it is a trap.
      const std::size_t before = code_bytes(block, rip - kIntNLength, code);
      if (before >= kIntNLength && code[0] == std::byte{0xcd} && code[1] == std::byte{4}) {
        cpu.rip -= kIntNLength;
      }
      return raise(it, cpu, arch::undefined_opcode(), false, {}, report);
    }
    default:
      return raise(it, cpu, {vector, static_cast<std::uint32_t>(m.err), {}}, false, {}, report);
  }
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
  const auto vma = vmas_.find(address);
  if (!vma) {
    return false;
  }
  const auto native = static_cast<std::uint32_t>(it.uc.mcontext.err);
  const Access access = access_of(native);
  CpuState cpu = load_state(it.uc, fs_base(), gs_base());
  kernel::UserSpace space(kernel_);
  const auto operand = space.walk(address, access);
  if (!operand) {
    return raise(it, cpu, operand.error(), false, {}, report);
  }
  if (const auto key = refused_by_key(it.uc, address, access); key) {
    return raise(it, cpu, *key, false, {}, report);
  }
  if (engine().features.epc_pkey < 0 && access != Access::Execute) {
    // Nothing keeps host code out of the EPC here (docs/fidelity.md), so let it in where enclave code may be.
    const std::uint64_t page = vma->enclave->page_number(address.page());
    const kernel::Protection now = kernel::effective_protection(*vma->enclave, page, vma->prot);
    if (now.covers(access == Access::Write ? kernel::kProtWrite : kernel::kProtRead)) {
      native_.allow_data(*vma, address.page());
      finish(it, cpu);
      return true;
    }
  }
  if (access == Access::Execute) {
    // Host code fetches the abort page: FF FF is no instruction.
    return raise(it, cpu, arch::undefined_opcode(), false, {}, report);
  }
  std::byte code[15];
  const std::size_t size = code_bytes(it.block, LinearAddress(cpu.rip), code);
  const auto is_abort_page = [](const void* vmas, LinearAddress at) {
    return static_cast<const kernel::VmaTable*>(vmas)->find(at).has_value();
  };
  AbortPageOutcome outcome;
  {
    const ProgramRights rights(frame_pkru(it.uc));
    outcome = emulate_abort_page(cpu, {{code, size}, address, it.block.slot, is_abort_page, &vmas_});
  }
  switch (outcome.end) {
    case AbortPageEnd::Done:
      cpu.rflags &= ~arch::rflags::kRf;
      if ((cpu.rflags & arch::rflags::kTf) != 0) {
        return raise(it, cpu, {Vector::DB, 0, {}}, true, {}, report, arch::dr6::kSingleStep);
      }
      finish(it, cpu);
      return true;
    case AbortPageEnd::Fault:
      return raise(it, cpu, outcome.fault, false, {}, report);
    case AbortPageEnd::MemoryFault: {
      const CopyFault& memory = it.block.copy_fault;
      report = memory.info;
      it.uc.mcontext.trapno = memory.trapno;
      it.uc.mcontext.err = memory.err;
      it.uc.mcontext.cr2 = memory.cr2;
      break;
    }
    case AbortPageEnd::NotEmulated:
      break;
  }
  return false;
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

/// The bytes at RIP, for telling instructions apart: EPC contents through the alias (the page may be
/// execute-only for the program), everything else as far as it can be read.
std::size_t Sgx::code_bytes(const ThreadBlock& block, LinearAddress rip, std::byte (&out)[15]) {
  if (block.lp.enclave_mode && block.lp.elrange.contains(rip)) {
    std::size_t done = 0;
    while (done < sizeof(out)) {
      const LinearAddress at = rip + done;
      const arch::EpcPage page = epc_page_at(at);
      if (!page) {
        break;
      }
      const std::size_t room = kPageSize - at.page_offset();
      const std::size_t n = room < sizeof(out) - done ? room : sizeof(out) - done;
      std::memcpy(out + done, page.data + at.page_offset(), n);
      done += n;
    }
    return done;
  }
  return sizeof(out) - enclume_guarded_copy(out, reinterpret_cast<const void*>(rip.value()), sizeof(out));
}

arch::EpcPage Sgx::epc_page_at(LinearAddress address) const {
  const auto vma = vmas_.find(address);
  if (!vma || !vma->enclave->mapped()) {
    return {};
  }
  const std::uint64_t page = vma->enclave->page_number(address.page());
  if (page >= vma->enclave->pages() || !vma->enclave->index().contains(page) ||
      !vma->enclave->page(page).load().resident) {
    return {};
  }
  return vma->enclave->epc_page(page);
}

}  // namespace enclume::engine
