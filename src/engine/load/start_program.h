// SPDX-License-Identifier: Apache-2.0
// The last step: from our code into the program's first instruction.
#pragma once

#include <cstdint>

namespace enclume::engine {

/// What enclume_start_program() needs; read before anything is cleared.
struct ProgramStart {
  std::uint64_t sp;
  std::uint64_t entry;
  std::uint64_t stack_low;  ///< pages from here ...
  std::uint64_t stack_end;  ///< ... to here are given back, and the bytes from there to sp cleared
  std::uint64_t xstate;     ///< components to reset with XRSTOR, 0: no XSAVE here
  const void* xsave_area;   ///< an XSAVE area in the initial state
  std::uint64_t stops;      ///< not 0: INT3 right before the jump
};

/// The registers of a program as START_THREAD and ELF_PLAT_INIT leave them (arch/x86/kernel/process_64.c,
/// arch/x86/include/asm/elf.h), then the jump.
extern "C" [[noreturn]] void enclume_start_program(const ProgramStart* start);

/// Behind that INT3, and the entry point that the jump there leads to.
extern "C" const char enclume_program_stop[];
extern "C" std::uint64_t enclume_program_entry;

}  // namespace enclume::engine
