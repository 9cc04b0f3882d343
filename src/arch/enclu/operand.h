// SPDX-License-Identifier: Apache-2.0
// What the leaves inside an enclave have in common: finding and checking operands, ending.
#pragma once

#include <cstdint>
#include <cstring>
#include <expected>
#include <type_traits>

#include "arch/cpu_state.h"
#include "arch/epc/epcm.h"
#include "arch/fault.h"
#include "arch/logical_processor.h"
#include "arch/ports.h"

namespace enclume::arch {

/// Error-code bits of an access from CPL 3.
constexpr std::uint32_t access_bits(Access access) {
  switch (access) {
    case Access::Write:
      return pfec::kUser | pfec::kWrite;
    case Access::Execute:
      return pfec::kUser | pfec::kInstruction;
    case Access::Read:
      break;
  }
  return pfec::kUser;
}

/// "Resolves within an EPC page": the page walk's own fault, or #PF with the SGX bit if the page is ordinary
/// memory. Signal context: safe.
[[nodiscard]] std::expected<Operand, Fault> walk_to_epc(AddressSpace&, LinearAddress, Access) noexcept;

/// The page list of the leaves' pseudocode: VALID, not BLOCKED, PENDING or MODIFIED, PT_REG, of the enclave
/// that runs, added for this address, and R, W or X as `access` needs. Signal context: safe.
[[nodiscard]] bool epcm_allows(const LogicalProcessor&, const EpcPage&, LinearAddress, Access) noexcept;

/// #GP(0) unless `address` is aligned and in ELRANGE. Signal context: safe.
[[nodiscard]] bool operand_in_elrange(const LogicalProcessor&, LinearAddress,
                                      std::uint64_t alignment) noexcept;

/// A whole operand: alignment and ELRANGE (#GP), walk, page list (#PF). Signal context: safe.
[[nodiscard]] std::expected<Operand, Fault> enclave_operand(const LogicalProcessor&, AddressSpace&,
                                                            LinearAddress, std::uint64_t alignment,
                                                            Access) noexcept;

/// A copy of a structure in enclave memory, which other threads may write at any time: what is checked must
/// be what is used.
template <typename T>
[[nodiscard]] T snapshot(const std::byte* from) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

/// Moves on to the next instruction. As after any instruction RF is clear; with TF set a #DB is pending after
/// an opt-in entry, and nothing after an opt-out one.
inline void retire(const LogicalProcessor& lp, CpuState& cpu) noexcept {
  cpu.rip += kEncluLength;
  cpu.rflags &= ~rflags::kRf;
  cpu.pending_single_step = lp.dbgoptin && (cpu.rflags & rflags::kTf) != 0;
}

/// retire() for a leaf that reports in RAX and ZF and clears the other arithmetic flags.
[[nodiscard]] LeafResult retire_with(const LogicalProcessor&, CpuState&, LeafCode) noexcept;

}  // namespace enclume::arch
