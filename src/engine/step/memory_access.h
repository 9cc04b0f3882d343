// SPDX-License-Identifier: Apache-2.0
// Where an instruction will read and write, before it does.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "arch/cpu_state.h"
#include "base/types.h"
#include "engine/decode/instruction.h"

namespace enclume::engine {

struct MemoryAccess {
  LinearAddress address{};
  bool write = false;
};

struct MemoryAccesses {
  std::array<MemoryAccess, 3> list{};
  std::size_t count = 0;
  void add(std::uint64_t address, bool write) {
    if (count < list.size()) {
      list[count++] = {LinearAddress(address), write};
    }
  }
};

/// The first byte of each operand in memory: the one that ModRM names, those of string instructions, and what
/// PUSH, POP, CALL and RET do to the stack. Left out are vectors of addresses, bit strings, operands under a
/// mask, addresses that only AVX-512's compressed displacements give, and second operands that no ModRM names
/// (MASKMOVDQU, MOVDIR64B). Signal context: safe.
[[nodiscard]] MemoryAccesses memory_accesses(const decode::Instruction& instruction,
                                             const arch::CpuState& cpu) noexcept;

}  // namespace enclume::engine
