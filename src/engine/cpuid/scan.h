// SPDX-License-Identifier: Apache-2.0
// Finds the CPUID instructions of a loaded object.
//
// The bytes 0F A2 are common in data and inside other instructions, so each occurrence must be proven: the
// function around it, known from the unwinder's tables or the symbols, is decoded from its first byte. What
// can't be proven is reported and left alone. Only in an object of which neither tables nor symbols are there
// (a stripped Go program) the bytes around it decide, as they do in enclaves (site_vote.h).
#pragma once

#include <cstdint>

#include "engine/cpuid/mapped_array.h"
#include "engine/cpuid/object_image.h"
#include "engine/decode/decoder.h"

namespace enclume::engine {

/// A CPUID instruction.
struct CpuidSite {
  std::uint64_t address = 0;  // of the first byte, prefixes included
  std::uint8_t length = 0;    // 2, or more with prefixes

  /// Of the byte A2, its last.
  [[nodiscard]] constexpr std::uint64_t last_byte() const { return address + length - 1; }
  friend constexpr bool operator==(const CpuidSite&, const CpuidSite&) = default;
};

struct ScanCounts {
  std::uint32_t candidates = 0;  // places with the bytes 0F A2
  std::uint32_t proven = 0;      // CPUID instructions
  std::uint32_t interior = 0;    // inside other instructions
  std::uint32_t unproven = 0;    // data between functions, or code that nothing describes

  constexpr ScanCounts& operator+=(const ScanCounts& o) {
    candidates += o.candidates;
    proven += o.proven;
    interior += o.interior;
    unproven += o.unproven;
    return *this;
  }
};

/// Appends the object's proven sites to `sites` in ascending order, and its unproven candidates to
/// `unproven`. Without memory for a result or for decoding a function, its candidates count as unproven.
/// Signal context: unsafe (maps memory, may read the object's file; the object must stay loaded).
ScanCounts scan_object(const ObjectImage& image, decode::BranchRule branches, MappedArray<CpuidSite>& sites,
                       MappedArray<std::uint64_t>& unproven) noexcept;

}  // namespace enclume::engine
