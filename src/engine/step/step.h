// SPDX-License-Identifier: Apache-2.0
// One instruction of enclave code under RFLAGS.TF, of which the enclave sees nothing.
#pragma once

#include <cstdint>

#include "arch/cpu_state.h"
#include "base/types.h"
#include "engine/decode/instruction.h"
#include "engine/step/out_of_line.h"

namespace enclume::engine {

/// A thread's step, from the return to enclave code to the next signal on the thread, whatever that is: the
/// #DB behind the instruction, a fault of it, or something from outside.
struct StepState {
  enum class Repair : std::uint8_t {
    None,
    PushedFlags,   ///< PUSHF stores a TF that isn't the enclave's
    PoppedFlags,   ///< behind POPF, TF is what the enclave has loaded
    PushedReturn,  ///< a call out of line: the address on the stack is that behind the copy
    Registers,     ///< RAX and RDX were changed for this instruction only
  };
  bool armed = false;       ///< RFLAGS.TF in the frame is the engine's
  bool enclave_tf = false;  ///< what it is for the enclave
  bool absolute = false;    ///< see OutOfLine
  Repair repair = Repair::None;
  std::uint8_t length = 0;
  std::uint64_t rip = 0;   ///< of the instruction
  std::uint64_t copy = 0;  ///< where it is executed, 0: where it stands
  std::uint64_t rax = 0;
  std::uint64_t rdx = 0;
  LinearAddress page{};    ///< for whose sake the step is, 0: none
  bool open_page = false;  ///< it may be read, written and executed meanwhile: the instruction is in place
};

/// What became of a step.
struct StepEnd {
  bool taken = false;       ///< the instruction (one iteration, with REP) has been executed
  bool again = false;       ///< an iteration: RIP is still there
  bool enclave_tf = false;  ///< TF was the enclave's own, too, when it began
  bool open_page = false;
  LinearAddress page{};
  /// Still to be done: to clear TF in the flags at RSP, or to write `return_address` there.
  bool clear_pushed_tf = false;
  std::uint64_t return_address = 0;
};

/// Sets TF for the instruction at RIP, which is executed at `elsewhere` if that is given; null if it can't be
/// decoded. Signal context: safe, as all here.
void arm_step(StepState& step, arch::CpuState& cpu, const decode::Instruction* instruction,
              const OutOfLine* elsewhere = nullptr);

/// Makes the registers what they are without the step. `debug_trap`: what ended it is a single-step #DB.
/// `tf_allowed`: enclave code may load TF (after debug opt-in; else POPF leaves it clear).
StepEnd end_step(StepState& step, arch::CpuState& cpu, bool debug_trap, bool tf_allowed);

}  // namespace enclume::engine
