// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/enclave_scan.h"

#include <algorithm>
#include <array>

#include "engine/cpuid/candidates.h"
#include "engine/cpuid/code_map.h"

namespace enclume::engine {

Candidate judge_candidate(const CodeMap& map, std::size_t opcode, const decode::Instruction& bare) noexcept {
  Candidate candidate = {.opcode = static_cast<std::uint16_t>(opcode),
                         .start = static_cast<std::uint16_t>(opcode),
                         .length = bare.length,
                         .cls = bare.cls,
                         .verdict = CandidateVerdict::Undecided};
  if (!map.is_start(opcode) && !map.is_inside(opcode)) {
    return candidate;
  }
  const auto placed = map.instruction_at(opcode);
  if (!placed) {
    candidate.verdict = CandidateVerdict::Contested;
    return candidate;
  }
  // The class, too: VPALIGNR's opcode is 0F, and A2 its ModRM.
  if (placed->offset + placed->instruction.opcode_offset != opcode || placed->instruction.cls != bare.cls) {
    candidate.verdict = CandidateVerdict::Interior;
    return candidate;
  }
  candidate.start = static_cast<std::uint16_t>(placed->offset);
  candidate.length = placed->instruction.length;
  candidate.cls = placed->instruction.cls;
  candidate.verdict = CandidateVerdict::Instruction;
  return candidate;
}

PageScan scan_enclave_page(std::span<const std::byte> text, std::span<const std::uint16_t> starts,
                           ClassSet wanted, decode::BranchRule branches, std::span<Candidate> candidates,
                           std::span<std::int64_t> leads) noexcept {
  PageScan scan;
  const std::size_t size = std::min<std::size_t>(text.size(), kPageSize);
  std::array<std::uint64_t, CodeMap::storage_words(kPageSize)> storage{};
  CodeMap map(text, size, storage, branches);
  bool followed = false;
  const auto follow = [&] {
    for (const std::uint16_t start : starts) {
      if (start < size) {
        map.follow(start, [&](std::int64_t outside) {
          if (scan.leads < leads.size()) {
            leads[scan.leads] = outside;
          }
          ++scan.leads;
        });
      }
    }
    followed = true;
  };
  if (!leads.empty()) {
    follow();
  }
  for_each_candidate(text, size, wanted, branches, [&](std::size_t at, const decode::Instruction& bare) {
    if (!followed) {
      follow();
    }
    if (scan.candidates < candidates.size()) {
      candidates[scan.candidates] = judge_candidate(map, at, bare);
    }
    ++scan.candidates;
  });
  return scan;
}

}  // namespace enclume::engine
