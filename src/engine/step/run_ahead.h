// SPDX-License-Identifier: Apache-2.0
// Plain instructions between two ENCLUs of enclave code, executed without going back to it: a loop of EACCEPT
// then costs one signal for many pages, not one for each.
#pragma once

#include <cstddef>
#include <cstdint>

#include "arch/cpu_state.h"
#include "engine/decode/decoder.h"

namespace enclume::engine {

/// What enclave code may reach, as run_ahead() asks for it.
class AheadMemory {
 public:
  /// The bytes at `rip` that may be executed; how many.
  virtual std::size_t fetch(std::uint64_t rip, std::byte (&code)[decode::kMaxInstructionLength]) = 0;
  /// Where an operand of 4 or 8 bytes, naturally aligned, can be read, or read and written, until run_ahead()
  /// is over. Null where the processor has to decide: that ends it, as if it had not begun.
  virtual std::byte* operand(std::uint64_t address, bool write) = 0;

 protected:
  ~AheadMemory() = default;
};

/// Executes what stands at RIP up to the next ENCLU, which RIP then is at, and returns true. False, and
/// nothing has happened, if there is none within some tens of instructions, or something on the way is left
/// to the processor: it knows MOV, LEA, integer arithmetic of 32 and 64 bits, shifts, the stack, and near
/// branches. Signal context: safe.
[[nodiscard]] bool run_ahead(arch::CpuState& cpu, AheadMemory& memory, decode::BranchRule branches) noexcept;

/// Whether it is worth to try behind an ENCLU: where it has failed more often than not it isn't, since what
/// was done in vain costs time. One for each thread.
class AheadOdds {
 public:
  [[nodiscard]] bool good(std::uint64_t enclu) const noexcept { return enclu != enclu_ || score_ > kNever; }
  void ended(std::uint64_t enclu, bool well) noexcept {
    if (enclu != enclu_) {
      enclu_ = enclu;
      score_ = 0;
    }
    if (well) {
      score_ = score_ < kSure ? score_ + 1 : kSure;
    } else {
      score_ -= kPrice;
    }
  }

 private:
  static constexpr int kSure = 8;
  static constexpr int kPrice = 4;  // a loop of four leaves and more pays
  static constexpr int kNever = -8;
  std::uint64_t enclu_ = 0;
  int score_ = 0;
};

}  // namespace enclume::engine
