// SPDX-License-Identifier: Apache-2.0
#include "engine/sgx.h"

#include <cstring>

#include "arch/enclu/debug.h"
#include "arch/enclu/enclu.h"
#include "base/panic.h"
#include "base/syscall.h"
#include "engine/bases.h"
#include "engine/debugger.h"
#include "engine/decode/decoder.h"
#include "engine/engine.h"
#include "engine/signals/context.h"
#include "engine/trace/hooks.h"
#include "kernel/spaces.h"

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

/// The same at an instruction that has faulted: INT3 in the first byte cannot have, so a debugger has put it
/// there since. gdb does, at the ENCLU itself, when it passes the engine's signal on during a step.
bool was_enclu(const std::byte* code, std::size_t size) {
  return is_enclu(code, size) ||
         (size >= kernel::kEncluBytes.size() && code[0] == std::byte{0xcc} &&
          std::memcmp(code + 1, kernel::kEncluBytes.data() + 1, kernel::kEncluBytes.size() - 1) == 0);
}

}  // namespace

bool is_enclu(const std::byte* code, std::size_t size) {
  return size >= kernel::kEncluBytes.size() &&
         std::memcmp(code, kernel::kEncluBytes.data(), kernel::kEncluBytes.size()) == 0;
}

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

Sgx::Sgx(const arch::MachineConfig& config, kernel::KernelShared& shared, NativeTables& tables) noexcept
    : config_(config),
      vmas_(process_),
      enclaves_(process_, shared),
      kernel_{process_, config_, shared, enclaves_, vmas_, mm_},
      native_(kernel_, tables) {}

void Sgx::after_fork() {
  enclaves_.after_fork_in_child();
  vmas_.after_fork_in_child();
  native_.after_fork_in_child();
}

/// Writes the registers back and says in which mode the handler returns.
void Sgx::finish(Interruption& it, CpuState& cpu) {
  if (it.block.lp.enclave_mode && (cpu.rflags & arch::rflags::kTf) != 0 && !it.block.step.armed &&
      native_.has_watches()) {
    keep_jumps_from(it.block, cpu);
  }
  store_state(it.uc, cpu, it.plan);
  it.plan.enclave = it.block.lp.enclave_mode ? 1 : 0;
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
  // Which saves asking the kernel: the thread has its TCS by this id, too. (A child of vfork that has entered
  // goes by its parent's, which stands still meanwhile; see OwnerLock::lock().)
  block.handler_tid = block.tid;
  StepEnd step;
  const bool debug_trap =
      (signo == SIGTRAP && it.info.si_code == TRAP_TRACE) || is_step_without_cause(signo, it);
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
  std::byte code[15];
  if (vector == Vector::OF && is_enclu(code, code_bytes(block, LinearAddress(cpu.rip - kInt4Length), code))) {
    cpu.rip -= kInt4Length;  // the INT 4 that stands for it; see pages/enclu_traps.h
    return run_enclu(it, cpu, report);
  }
  const LinearAddress rip(cpu.rip);
  const std::size_t size =
      block.lp.elrange.contains(rip) && may_be_enclu(signo, m) ? code_bytes(block, rip, code) : 0;
  if (was_enclu(code, size)) {
    if (vector == Vector::UD && joins_leaves_ && block.undefined.often(cpu.rip)) {
      if (const auto vma = vmas_.find(rip)) {
        native_.trap_by_int4(*vma, rip, block.tid);
      }
    }
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
