// SPDX-License-Identifier: Apache-2.0
// CPUID in host code: the machine's answers with SGX added.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "arch/cpuid/sgx_leaves.h"
#include "engine/signals/frame.h"

namespace enclume::engine {

/// What the processor answers, where it always answers the same.
struct CpuidLeaf {
  std::uint32_t leaf;
  std::uint32_t subleaf;  ///< kAnySubleaf: ECX does not matter
  arch::CpuidResult result;

  static constexpr std::uint32_t kAnySubleaf = ~0U;
};

/// From now on these are not asked for: a hypervisor makes some microseconds of each CPUID. They must stay.
void know_cpuid(std::span<const CpuidLeaf> leaves);

/// What the machine's own CPUID says, for the engine itself. Signal context: safe.
[[nodiscard]] arch::CpuidResult machine_cpuid(std::uint32_t leaf, std::uint32_t subleaf);

/// For CpuidStubs: the answers among those that are known and that SGX does not change.
[[nodiscard]] std::optional<arch::CpuidResult> constant_cpuid(std::uint32_t leaf,
                                                              std::optional<std::uint32_t> subleaf);

/// If the thread is in one of the stubs that answer CPUID, which are no code of the program's: executes it to
/// its end, and is true. Signal context: safe.
bool leave_cpuid_stub(UContext& uc);

/// If the instruction at RIP is a CPUID that this engine patched: executes it on the frame. Signal context:
/// safe.
bool emulate_patched_cpuid(UContext& uc);

/// If the instruction at RIP is a CPUID (which faulted): the same.
bool emulate_faulting_cpuid(UContext& uc);

}  // namespace enclume::engine
