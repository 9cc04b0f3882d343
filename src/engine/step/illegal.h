// SPDX-License-Identifier: Apache-2.0
// Which instructions enclave code may not execute (SDM Vol. 3D, "Illegal Instructions Inside an Enclave").
#pragma once

#include "engine/cpuid/enclave_scan.h"
#include "engine/decode/instruction.h"

namespace enclume::engine {

/// Instructions that are #UD in an enclave and something else outside one: another exception, a system call,
/// or simply executed. (INT3 and INT1 depend on the entry's debug opt-in; see Sgx::enclave_fault().)
inline constexpr ClassSet kIllegalInEnclave =
    kSilentTwoByte | kSilentOneByte |
    ClassSet{
        decode::InstructionClass::Getsec, decode::InstructionClass::Rdpmc, decode::InstructionClass::Vmfunc,
        decode::InstructionClass::In,     decode::InstructionClass::Out,   decode::InstructionClass::Ins,
        decode::InstructionClass::Outs,   decode::InstructionClass::IntN,  decode::InstructionClass::Syscall};

/// The same for this processor.
[[nodiscard]] constexpr ClassSet illegal_in_enclave(bool sgx2) {
  return sgx2 ? kIllegalInEnclave : kIllegalInEnclave | kSilentOnSgx1;
}

/// Those that have to be looked for before they are executed; with CPUID faulting CPUID is none of them.
[[nodiscard]] constexpr ClassSet silent_in_enclave(bool sgx2, bool cpuid_faulting) {
  ClassSet set = kSilentTwoByte;
  if (!sgx2) {
    set = set | kSilentOnSgx1;
  }
  return cpuid_faulting ? set.without({decode::InstructionClass::Cpuid}) : set;
}

}  // namespace enclume::engine
