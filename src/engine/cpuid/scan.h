// SPDX-License-Identifier: Apache-2.0
// Finds the CPUID and SYSCALL instructions of a loaded object that are to be trapped, both in one pass.
//
// The bytes 0F A2 and 0F 05 are common in data and inside other instructions, so each occurrence must be
// proven: the function around it, known from the unwinder's tables or the symbols, is decoded from its first
// byte. What can't be proven is reported and left alone. Only in an object of which neither tables nor
// symbols are there (a stripped Go program, one of Free Pascal) the bytes around it decide, as they do in
// enclaves (site_vote.h).
#pragma once

#include <cstdint>

#include "engine/cpuid/mapped_array.h"
#include "engine/cpuid/object_image.h"
#include "engine/decode/decoder.h"

namespace enclume::engine {

/// What takes the place of the byte behind 0F: CLTS, which raises #GP in user mode. UD2 would do, too, but
/// many hypervisors intercept #UD, at several times the cost of the signal.
inline constexpr std::uint8_t kTrap = 0x06;

enum class SiteKind : std::uint8_t {
  Cpuid,
  Syscall,
  ConstantCpuid,  ///< not to be trapped: `mov $leaf, %eax`, what sets ECX to a constant or nothing, and CPUID
};

/// An instruction of host code that is to be trapped.
struct HostSite {
  std::uint64_t address = 0;  // of the first byte, prefixes included
  std::uint8_t length = 0;    // 2, or more with prefixes
  SiteKind kind = SiteKind::Cpuid;

  /// The second byte of the opcode, which is its last one: A2 or 05.
  [[nodiscard]] constexpr std::uint8_t opcode() const { return kind == SiteKind::Syscall ? 0x05 : 0xa2; }
  /// Of that byte.
  [[nodiscard]] constexpr std::uint64_t last_byte() const { return address + length - 1; }
  friend constexpr bool operator==(const HostSite&, const HostSite&) = default;
};

/// What to look for.
struct ScanRequest {
  decode::BranchRule branches = decode::BranchRule::Intel;
  bool cpuid = true;
  /// CPUID.0:EAX of the machine, if its CPUID takes less time than a trap: one that asks for a leaf that SGX
  /// has no part in is left alone then. 0: each is to be trapped.
  std::uint32_t untrapped_max_leaf = 0;
  /// Whether a system call of this number is to be trapped; null: no SYSCALL is looked for. One whose number
  /// can't be told always is.
  bool (*traps_call)(std::uint32_t number) = nullptr;
  /// Whether sites of kind ConstantCpuid are wanted, too. The CPUID of one may be another site.
  bool constants = false;
};

struct ScanCounts {
  std::uint32_t candidates = 0;  // places with the bytes of one of the two
  std::uint32_t proven = 0;      // to be trapped
  std::uint32_t let_be = 0;      // SYSCALLs for numbers that need not be
  std::uint32_t plain = 0;       // CPUIDs for leaves that need not be
  std::uint32_t interior = 0;    // inside other instructions
  std::uint32_t unproven = 0;    // data between functions, or code that nothing describes
  std::uint32_t constants = 0;   // sites of kind ConstantCpuid

  constexpr ScanCounts& operator+=(const ScanCounts& o) {
    candidates += o.candidates;
    proven += o.proven;
    let_be += o.let_be;
    plain += o.plain;
    interior += o.interior;
    unproven += o.unproven;
    constants += o.constants;
    return *this;
  }
};

/// Appends the object's proven sites to `sites` in ascending order, and its unproven candidates to
/// `unproven`. Without memory for a result or for decoding a function, its candidates count as unproven.
/// Signal context: unsafe (maps memory, may read the object's file; the object must stay loaded).
ScanCounts scan_object(const ObjectImage& image, const ScanRequest& request, MappedArray<HostSite>& sites,
                       MappedArray<std::uint64_t>& unproven) noexcept;

}  // namespace enclume::engine
