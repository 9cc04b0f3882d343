// SPDX-License-Identifier: Apache-2.0
// Debug exceptions of enclave code, and what tells them apart.
#include "engine/debug_trap.h"

#include <cstring>

#include "arch/enclu/debug.h"
#include "engine/decode/decoder.h"
#include "engine/fast/read_watch.h"
#include "engine/sgx.h"
#include "engine/signals/announce.h"
#include "engine/signals/context.h"
#include "engine/trace/hooks.h"

namespace enclume::engine {

namespace {

using arch::CpuState;
using arch::DebugCondition;
using arch::Fault;
using arch::Vector;

constexpr int kTrapBranch = 3;
constexpr int kTrapHwBreakpoint = 4;
constexpr int kTrapPerf = 6;

// Behind si_addr: what TRAP_PERF has (union _sifields._sigfault._perf).
constexpr std::size_t kPerfFlagsOffset = 36;
constexpr std::uint32_t kPerfFlagAsync = 1;

bool is_string_instruction(std::uint8_t opcode) {
  return (opcode >= 0xa4 && opcode <= 0xa7) || (opcode >= 0xaa && opcode <= 0xaf) ||
         (opcode >= 0x6c && opcode <= 0x6f);
}

bool is_repeated_string(std::span<const std::byte> code) {
  const auto instruction = decode::decode(code);
  return instruction && instruction->map == decode::OpcodeMap::OneByte &&
         (instruction->rep || instruction->repne) && is_string_instruction(instruction->opcode);
}

/// Which of the breakpoints that have matched count in enclave mode, as bits of DR6; all where it is not
/// known which. The kernel reports the breakpoint's address for perf events only; for debug registers the
/// tracer's front door puts those that have matched into the siginfo. Without it the tracer has seen the trap
/// and wants it.
std::uint64_t counting_breakpoints(const arch::LogicalProcessor& lp, const siginfo_t& info, DebugTrap trap,
                                   DebugCondition condition, LinearAddress rip) {
  if (condition == DebugCondition::CodeBreakpoint) {
    return arch::counts_in_enclave(lp, condition, rip) ? arch::dr6::kBreakpoints : 0;
  }
  if (trap == DebugTrap::PerfEvent) {
    return arch::counts_in_enclave(lp, condition, LinearAddress::of(info.si_addr)) ? 1 : 0;
  }
  if (debugger_mark(info) != DebuggerMark::Breakpoints) {
    return arch::dr6::kBreakpoints;
  }
  std::uint64_t matched = 0;
  for (unsigned n = 0; n < 4; ++n) {
    const LinearAddress address(breakpoint_address(info, n));
    if (address.value() != 0 && arch::counts_in_enclave(lp, condition, address)) {
      matched |= 1ULL << n;
    }
  }
  return matched;
}

}  // namespace

DebugTrap debug_trap_of(int signo, const siginfo_t& info, const SigContext& m) {
  if (signo != SIGTRAP) {
    return DebugTrap::None;
  }
  const auto vector = static_cast<Vector>(m.trapno);
  switch (info.si_code) {
    case SI_KERNEL:
      return vector == Vector::BP ? DebugTrap::Breakpoint : DebugTrap::None;
    case TRAP_BRKPT:
      return vector == Vector::DB ? DebugTrap::Icebp : DebugTrap::None;
    case TRAP_TRACE:
      return vector == Vector::DB ? DebugTrap::SingleStep : DebugTrap::None;
    case kTrapHwBreakpoint:
      return vector == Vector::DB ? DebugTrap::DebugRegister : DebugTrap::None;
    case kTrapPerf:
      return is_asynchronous(info) ? DebugTrap::None : DebugTrap::PerfEvent;
    case kTrapBranch:
    default:
      return DebugTrap::None;
  }
}

bool is_code_breakpoint(const SigContext& m, bool next_is_string) {
  return (m.flags & arch::rflags::kRf) != 0 && !next_is_string;
}

bool is_asynchronous(const siginfo_t& info) {
  std::uint32_t flags;
  std::memcpy(&flags, reinterpret_cast<const std::byte*>(&info) + kPerfFlagsOffset, sizeof(flags));
  return info.si_signo == SIGTRAP && info.si_code == kTrapPerf && (flags & kPerfFlagAsync) != 0;
}

void mark_asynchronous(siginfo_t& perf_trap) {
  auto* flags = reinterpret_cast<std::byte*>(&perf_trap) + kPerfFlagsOffset;
  std::uint32_t value;
  std::memcpy(&value, flags, sizeof(value));
  value |= kPerfFlagAsync;
  std::memcpy(flags, &value, sizeof(value));
}

/// Whether the #DB that has interrupted a step is the step's, though DR6 gave no cause: hypervisors lose
/// DR6.BS now and then (KVM before Linux 6.14, when its own timer comes before the guest's handler has read
/// it). Then it looks like INT1's.
bool Sgx::is_step_without_cause(int signo, const Interruption& it) {
  const StepState& step = it.block.step;
  if (!step.armed || debug_trap_of(signo, it.info, it.uc.mcontext) != DebugTrap::Icebp) {
    return false;
  }
  const auto stepped = instruction_at(it.block, LinearAddress(step.rip));
  return stepped && stepped->cls != decode::InstructionClass::Int1;
}

/// Natively INT3, INT 3 and INT1 are traps behind the instruction; in an enclave they are faults at it.
bool Sgx::enclave_software_trap(Interruption& it, CpuState& cpu, DebugTrap trap, siginfo_t& report) {
  constexpr std::byte kIntN{0xcd};
  constexpr std::byte kIcebp{0xf1};
  std::byte code[15];
  const std::size_t size = code_bytes(it.block, LinearAddress(cpu.rip - 2), code);
  if (trap == DebugTrap::Breakpoint && size >= 2 && code[0] == kIntN && code[1] == std::byte{3}) {
    cpu.rip -= 2;
    return raise(it, cpu, arch::undefined_opcode(), false, {}, report);
  }
  // Hypervisors that intercept #DB may hand INT1's on with RIP at the instruction. Between two INT1 the bytes
  // don't tell; what was seen before does.
  const bool behind = is_byte(it.block, LinearAddress(cpu.rip - 1), kIcebp);
  const bool at = is_byte(it.block, LinearAddress(cpu.rip), kIcebp);
  if (trap == DebugTrap::Icebp && !at && !behind) {
    // No INT1: of a step, or of a breakpoint, DR6 has been lost.
    return (cpu.rflags & arch::rflags::kTf) != 0 ? enclave_debug_trap(it, cpu, DebugTrap::SingleStep, report)
                                                 : go_on(it, cpu, report);
  }
  if (trap == DebugTrap::Icebp && at && !behind) {
    icebp_stays_.store(true, std::memory_order_relaxed);
  }
  if (trap == DebugTrap::Breakpoint || !at || !icebp_stays_.load(std::memory_order_relaxed)) {
    cpu.rip -= 1;
  }
  if (!it.block.lp.dbgoptin) {
    return raise(it, cpu, arch::undefined_opcode(), false, {}, report);
  }
  const Vector vector = trap == DebugTrap::Breakpoint ? Vector::BP : Vector::DB;
  return raise(it, cpu, {vector, 0, {}}, false, {}, report);
}

bool Sgx::is_byte(const ThreadBlock& block, LinearAddress address, std::byte byte) {
  std::byte code[15];
  return code_bytes(block, address, code) != 0 && code[0] == byte;
}

bool Sgx::enclave_debug_trap(Interruption& it, CpuState& cpu, DebugTrap trap, siginfo_t& report) {
  arch::LogicalProcessor& lp = it.block.lp;
  if (trap == DebugTrap::PerfEvent && is_read_watch(it.info)) {
    return enclave_read_jump(it, cpu, report);
  }
  if (trap == DebugTrap::Breakpoint || trap == DebugTrap::Icebp) {
    return enclave_software_trap(it, cpu, trap, report);
  }
  if (trap == DebugTrap::SingleStep) {
    if (arch::counts_in_enclave(lp, DebugCondition::SingleStep, LinearAddress(cpu.rip))) {
      return raise(it, cpu, {Vector::DB, 0, {}}, true, {}, report, arch::dr6::kSingleStep);
    }
    // The enclave has set TF itself, by a POPF that the processor would not have let it do.
    cpu.rflags &= ~arch::rflags::kTf;
    return go_on(it, cpu, report);
  }

  std::byte code[15];
  const std::size_t size = code_bytes(it.block, LinearAddress(cpu.rip), code);
  const bool at_instruction = is_code_breakpoint(it.uc.mcontext, is_repeated_string({code, size}));
  const DebugCondition condition =
      at_instruction ? DebugCondition::CodeBreakpoint : DebugCondition::DataBreakpoint;
  const std::uint64_t matched = counting_breakpoints(lp, it.info, trap, condition, LinearAddress(cpu.rip));
  if (matched == 0) {
    return go_on(it, cpu, report);  // an instruction breakpoint's RF is set, so that the instruction runs now
  }

  // SSA.RF is what it was before the kernel set it; so a code breakpoint comes again unless the debugger
  // removes it or sets SSA.RF. The flags at the AEP are the ones that the kernel works on.
  if (at_instruction) {
    cpu.rflags &= ~arch::rflags::kRf;
  }
  const bool settled = raise(it, cpu, {Vector::DB, 0, {}}, true, {}, report, matched);
  if (at_instruction) {
    it.uc.mcontext.flags |= arch::rflags::kRf;
  }
  if (trap == DebugTrap::PerfEvent) {
    report = it.info;  // nothing in it depends on where the thread was
  }
  if (debugger_mark(it.info) == DebuggerMark::Breakpoints) {
    set_matched_breakpoints(report, matched);
  }
  return settled;
}

}  // namespace enclume::engine
