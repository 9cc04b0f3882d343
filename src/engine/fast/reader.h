// SPDX-License-Identifier: Apache-2.0
// An instruction that has read a jump of ours where the enclave's own bytes should have been: undone, so that
// it can be executed again.
//
// A data breakpoint is a trap: the instruction is over when it is known. Most only load, and what they have
// overwritten nobody needs any more. Of those that combine what they read with a register, the register's
// old value follows from the new one, as long as nothing is lost: ADD, SUB, XOR, MUL, DIV, CRC32, ...
#pragma once

#include <cstddef>
#include <cstdint>

#include "arch/cpu_state.h"
#include "engine/decode/decoder.h"

namespace enclume::engine {

/// Memory of the enclave.
class ReaderMemory {
 public:
  /// Its own bytes, which are there afterwards. False if there are none.
  virtual bool own(std::uint64_t address, std::byte* to, std::size_t size) = 0;
  /// Puts over them what was there when the instruction has read.
  virtual void overlay(std::uint64_t address, std::byte* bytes, std::size_t size) = 0;

 protected:
  ~ReaderMemory() = default;
};

/// `cpu` is behind an instruction that has read something of the 8 bytes at `word`, or between two iterations
/// of one. Puts the registers, extended ones included, back to where executing what is at RIP then gives what
/// it should have given. False if that can't be: nothing is changed then. Signal context: safe.
[[nodiscard]] bool undo_read(arch::CpuState& cpu, std::uint64_t word, ReaderMemory& memory,
                             decode::BranchRule branches) noexcept;

}  // namespace enclume::engine
