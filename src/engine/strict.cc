// SPDX-License-Identifier: Apache-2.0
// The half of Sgx that is strict mode: enclave code runs an instruction at a time, and each is looked at
// before it runs, so that nothing is left to what the machine would do by itself.
#include <cstring>

#include "arch/enclu/debug.h"
#include "engine/decode/decoder.h"
#include "engine/engine.h"
#include "engine/sgx.h"
#include "engine/step/features.h"
#include "engine/step/memory_access.h"
#include "engine/trace/hooks.h"
#include "kernel/spaces.h"

namespace enclume::engine {

using arch::Access;
using arch::CpuState;
using arch::Fault;
using arch::Reg;
using arch::Vector;
using decode::Instruction;
using decode::InstructionClass;

namespace {

constexpr std::uint64_t kXsaveHeader = 512;
constexpr std::uint64_t kCompacted = 1ULL << 63;

/// XGETBV shows XCR0, and with ECX = 1 what of it is not initial; an enclave's XCR0 is its XFRM (SDM Vol. 3D,
/// "XSAVE Feature Set"). False if the processor has to decide (#GP).
bool emulate_xgetbv(CpuState& cpu, std::uint64_t xfrm, const Instruction& instruction) {
  std::uint64_t value = xfrm;
  const auto which = static_cast<std::uint32_t>(cpu[Reg::Rcx]);
  if (which == 1 && engine().features.xgetbv_in_use && cpu.xsave.area != nullptr) {
    std::uint64_t in_use;
    std::memcpy(&in_use, cpu.xsave.area + kXsaveHeader, sizeof(in_use));
    value &= in_use;
  } else if (which != 0) {
    return false;
  }
  cpu[Reg::Rax] = value & 0xffff'ffff;
  cpu[Reg::Rdx] = value >> 32;
  cpu.rip += instruction.length;
  cpu.rflags &= ~arch::rflags::kRf;
  return true;
}

/// XSAVE and XRSTOR work on the components that are both in EDX:EAX and in XCR0. Not where the address comes
/// from these registers, too.
void narrow_xsave_mask(StepState& step, CpuState& cpu, const Instruction& instruction, std::uint64_t xfrm) {
  const auto is_mask = [](std::uint8_t number) {
    return number == static_cast<std::uint8_t>(Reg::Rax) || number == static_cast<std::uint8_t>(Reg::Rdx);
  };
  if (is_mask(instruction.memory.base) || is_mask(instruction.memory.index)) {
    return;
  }
  step.repair = StepState::Repair::Registers;
  step.rax = cpu[Reg::Rax];
  step.rdx = cpu[Reg::Rdx];
  cpu[Reg::Rax] &= xfrm & 0xffff'ffff;
  cpu[Reg::Rdx] &= xfrm >> 32;
}

}  // namespace

/// Goes on in the enclave: natively, or in strict mode by one instruction.
bool Sgx::go_on(Interruption& it, CpuState& cpu, siginfo_t& report) {
  if (strict_) {
    return strict_step(it, cpu, report);
  }
  finish(it, cpu);
  return true;
}

/// The bytes at RIP as far as they may be executed; what is missing is the processor's to find out.
std::size_t Sgx::fetchable_bytes(const ThreadBlock& block, LinearAddress rip,
                                 std::byte (&code)[decode::kMaxInstructionLength]) const {
  std::size_t size = 0;
  const auto executable = [&](LinearAddress at) {
    const auto vma = vmas_.find(at);
    return vma && vma->enclave->mapped() && block.lp.elrange.contains(at) &&
           kernel::effective_protection(*vma->enclave, vma->enclave->page_number(at.page()), vma->prot)
               .executable();
  };
  while (size < sizeof(code) && executable(rip + size)) {
    const LinearAddress at = rip + size;
    const arch::EpcPage page = epc_page_at(at);
    if (!page) {
      break;
    }
    const std::size_t room = kPageSize - at.page_offset();
    const std::size_t n = room < sizeof(code) - size ? room : sizeof(code) - size;
    std::memcpy(code + size, page.data + at.page_offset(), n);
    size += n;
  }
  return size;
}

bool Sgx::strict_step(Interruption& it, CpuState& cpu, siginfo_t& report) {
  ThreadBlock& block = it.block;
  for (;;) {
    const LinearAddress rip(cpu.rip);
    if (!block.lp.elrange.contains(rip)) {
      return raise(it, cpu, arch::general_protection(), false, {}, report);
    }
    std::byte code[decode::kMaxInstructionLength];
    const std::size_t size = fetchable_bytes(block, rip, code);
    const auto instruction = decode::decode({code, size}, branches_);
    if (block.traced != cpu.rip && (instruction || instruction.error() != decode::DecodeError::Truncated)) {
      block.traced = cpu.rip;
      trace_instruction(block, rip, {code, instruction ? instruction->length : size},
                        instruction ? &*instruction : nullptr);
    }
    if (!instruction) {
      arm_step(block.step, cpu, nullptr);  // no instruction, or none to be had: it faults
      finish(it, cpu);
      return true;
    }
    if (is_illegal(*instruction)) {
      return undefined(it, cpu, report, &*instruction);
    }
    if (const auto fault = refused_in_enclave(block, cpu, *instruction)) {
      return raise(it, cpu, *fault, false, {}, report);
    }
    if (instruction->cls == InstructionClass::Xgetbv && emulate_xgetbv(cpu, block.lp.xfrm, *instruction)) {
      if ((cpu.rflags & arch::rflags::kTf) != 0) {
        return raise(it, cpu, {Vector::DB, 0, {}}, true, {}, report, arch::dr6::kSingleStep);
      }
      continue;
    }
    arm_step(block.step, cpu, &*instruction);  // ENCLU, too: it traps, and signals come in between
    if (instruction->cls == InstructionClass::Xsave || instruction->cls == InstructionClass::Xrstor) {
      narrow_xsave_mask(block.step, cpu, *instruction, block.lp.xfrm);
    }
    finish(it, cpu);
    return true;
  }
}

/// What hardware finds wrong with a legal instruction and this machine would not.
std::optional<Fault> Sgx::refused_in_enclave(const ThreadBlock& block, const CpuState& cpu,
                                             const Instruction& instruction) {
  const std::uint64_t xfrm = block.lp.xfrm;
  if ((needed_features(instruction) & ~xfrm) != 0) {
    return arch::undefined_opcode();
  }
  const MemoryAccesses accesses = memory_accesses(instruction, cpu);
  for (std::size_t i = 0; i < accesses.count; ++i) {
    // Inside ELRANGE there is EPC or nothing.
    const LinearAddress address = accesses.list[i].address;
    const Access access = accesses.list[i].write ? Access::Write : Access::Read;
    if (!block.lp.elrange.contains(address) || vmas_.find(address)) {
      continue;
    }
    kernel::UserSpace space(kernel_);
    if (const auto operand = space.walk(address, access)) {
      if (const auto allowed = arch::check_enclave_access(block.lp, operand->epc, address, access);
          !allowed) {
        return allowed.error();
      }
    }
  }
  if (instruction.cls == InstructionClass::Xrstor && accesses.count != 0) {
    // A header that names components outside XCR0.
    std::uint64_t header[2];
    if (peek(accesses.list[0].address + kXsaveHeader, header, sizeof(header))) {
      const bool compacted = (header[1] & kCompacted) != 0;
      if ((header[0] & ~xfrm) != 0 || (compacted && (header[1] & ~kCompacted & ~xfrm) != 0)) {
        return arch::general_protection();
      }
    }
  }
  return std::nullopt;
}

}  // namespace enclume::engine
