// SPDX-License-Identifier: Apache-2.0
#include "engine/step/step.h"

namespace enclume::engine {

namespace {

constexpr std::uint8_t kPushf = 0x9c;
constexpr std::uint8_t kPopf = 0x9d;

StepState::Repair repair_for(const decode::Instruction& instruction, bool out_of_line) {
  using enum StepState::Repair;
  if (instruction.map == decode::OpcodeMap::OneByte && instruction.encoding == decode::Encoding::Legacy) {
    if (instruction.opcode == kPushf) {
      return PushedFlags;
    }
    if (instruction.opcode == kPopf) {
      return PoppedFlags;
    }
  }
  const bool call = instruction.cls == decode::InstructionClass::CallRelative ||
                    instruction.cls == decode::InstructionClass::CallIndirect;
  return call && out_of_line ? PushedReturn : None;
}

/// RIP as it would be without the copy. A fault leaves it at the copy, a trap-class exception behind it.
std::uint64_t original_rip(const StepState& step, std::uint64_t rip, bool taken) {
  const bool at_copy = rip - step.copy < decode::kMaxInstructionLength + 1U;
  if (taken ? step.absolute : !at_copy) {
    return rip;
  }
  return rip - step.copy + step.rip;
}

}  // namespace

void arm_step(StepState& step, arch::CpuState& cpu, const decode::Instruction* instruction,
              const OutOfLine* elsewhere) {
  step = StepState{};
  step.armed = true;
  step.enclave_tf = (cpu.rflags & arch::rflags::kTf) != 0;
  step.rip = cpu.rip;
  if (instruction != nullptr) {
    step.length = instruction->length;
    step.repair = repair_for(*instruction, elsewhere != nullptr);
  }
  if (elsewhere != nullptr) {
    step.copy = elsewhere->address;
    step.absolute = elsewhere->absolute;
    cpu.rip = elsewhere->address;
  }
  cpu.rflags |= arch::rflags::kTf;
}

StepEnd end_step(StepState& step, arch::CpuState& cpu, bool debug_trap, bool tf_allowed) {
  StepEnd end;
  if (!step.armed) {
    return end;
  }
  if (step.copy != 0) {
    cpu.rip = original_rip(step, cpu.rip, debug_trap);
  }
  end.taken = debug_trap;
  end.again = debug_trap && cpu.rip == step.rip;
  end.enclave_tf = step.enclave_tf;
  end.page = step.page;
  end.open_page = step.open_page;
  bool tf = step.enclave_tf;
  switch (step.repair) {
    case StepState::Repair::PushedFlags:
      end.clear_pushed_tf = debug_trap && !step.enclave_tf;
      break;
    case StepState::Repair::PoppedFlags:
      if (debug_trap) {
        tf = tf_allowed && (cpu.rflags & arch::rflags::kTf) != 0;
      }
      break;
    case StepState::Repair::PushedReturn:
      end.return_address = debug_trap ? step.rip + step.length : 0;
      break;
    case StepState::Repair::Registers:
      cpu[arch::Reg::Rax] = step.rax;
      cpu[arch::Reg::Rdx] = step.rdx;
      break;
    case StepState::Repair::None:
      break;
  }
  cpu.rflags = (cpu.rflags & ~arch::rflags::kTf) | (tf ? arch::rflags::kTf : 0);
  step = StepState{};
  return end;
}

}  // namespace enclume::engine
