// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/enclave_scan.h"

#include <algorithm>
#include <array>
#include <optional>

#include "engine/cpuid/code_map.h"

namespace enclume::engine {
namespace {

// First bytes of the opcodes that the sets above hold. Saves decoding at every byte.
bool may_begin(std::byte first) noexcept {
  switch (std::to_integer<std::uint8_t>(first)) {
    case 0x0f:  // the two-byte group, RDTSC, RDTSCP
    case 0x8e:  // MOV to segment
    case 0xca:  // RETF
    case 0xcb:
    case 0xcf:  // IRET
    case 0xff:  // far CALL, far JMP
      return true;
    default:
      return false;
  }
}

// The instruction that the bytes at `offset` would be, without prefixes.
std::optional<decode::Instruction> decode_opcode(std::span<const std::byte> text, std::size_t offset,
                                                 decode::BranchRule branches) noexcept {
  std::array<std::byte, decode::kMaxInstructionLength> bytes{};
  const auto rest = text.subspan(offset);
  std::ranges::copy(rest.first(std::min(rest.size(), bytes.size())), bytes.begin());
  const auto decoded = decode::decode(bytes, branches);
  return decoded ? std::optional(*decoded) : std::nullopt;
}

Candidate judge(const CodeMap& map, std::size_t opcode, const decode::Instruction& bare) noexcept {
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
  if (placed->offset + placed->instruction.opcode_offset != opcode) {
    candidate.verdict = CandidateVerdict::Interior;
    return candidate;
  }
  candidate.start = static_cast<std::uint16_t>(placed->offset);
  candidate.length = placed->instruction.length;
  candidate.cls = placed->instruction.cls;
  candidate.verdict = CandidateVerdict::Instruction;
  return candidate;
}

}  // namespace

PageScan scan_enclave_page(std::span<const std::byte> text, std::span<const std::uint16_t> starts,
                           ClassSet wanted, decode::BranchRule branches, std::span<Candidate> candidates,
                           std::span<std::int64_t> leads) noexcept {
  PageScan scan;
  const std::size_t size = std::min<std::size_t>(text.size(), kPageSize);
  std::array<std::uint64_t, CodeMap::storage_words(kPageSize)> storage{};
  CodeMap map(text, size, storage, branches);
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
  for (std::size_t at = 0; at < size; ++at) {
    if (!may_begin(text[at])) {
      continue;
    }
    const auto bare = decode_opcode(text, at, branches);
    if (!bare || !wanted.contains(bare->cls)) {
      continue;
    }
    if (scan.candidates < candidates.size()) {
      candidates[scan.candidates] = judge(map, at, *bare);
    }
    ++scan.candidates;
  }
  return scan;
}

}  // namespace enclume::engine
