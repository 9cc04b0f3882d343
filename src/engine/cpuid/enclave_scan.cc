// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/enclave_scan.h"

#include <emmintrin.h>

#include <algorithm>
#include <array>
#include <bit>
#include <optional>

#include "engine/cpuid/code_map.h"

namespace enclume::engine {
namespace {

// First bytes of the opcodes in kSilentOneByte: MOV to segment, RETF, IRET, far CALL and JMP.
constexpr std::array<std::uint8_t, 5> kOneByteOpcodes = {0x8e, 0xca, 0xcb, 0xcf, 0xff};

// Which of the sixteen bytes at `data` may begin an opcode that is wanted, as a mask.
unsigned may_begin(const std::byte* data, bool one_byte_wanted) noexcept {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(data));
  __m128i hits = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x0f));
  if (one_byte_wanted) {
    for (const std::uint8_t opcode : kOneByteOpcodes) {
      hits = _mm_or_si128(hits, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(static_cast<char>(opcode))));
    }
  }
  return static_cast<unsigned>(_mm_movemask_epi8(hits));
}

// True if 0F and this byte may be an opcode of the sets. Saves decoding at every 0F, of which pages are full.
bool is_wanted_second_byte(std::byte second) noexcept {
  switch (std::to_integer<std::uint8_t>(second)) {
    case 0x00:  // SLDT, STR
    case 0x01:  // SGDT, SIDT, SMSW, RDTSCP
    case 0x31:  // RDTSC
    case 0xa1:  // POP FS
    case 0xa2:  // CPUID
    case 0xa9:  // POP GS
    case 0xb2:  // LSS
    case 0xb4:  // LFS
    case 0xb5:  // LGS
      return true;
    default:
      return false;
  }
}

// Calls visit(offset) for each place of the page where an opcode of the sets may stand.
template <typename Visitor>
void for_each_opcode(std::span<const std::byte> text, std::size_t size, bool one_byte_wanted,
                     Visitor&& visit) noexcept {
  const auto consider = [&](std::size_t at) {
    if (text[at] != std::byte{0x0f} || at + 1 >= text.size() || is_wanted_second_byte(text[at + 1])) {
      visit(at);
    }
  };
  std::size_t at = 0;
  for (; at + 16 <= size; at += 16) {
    for (unsigned hits = may_begin(text.data() + at, one_byte_wanted); hits != 0; hits &= hits - 1) {
      consider(at + static_cast<std::size_t>(std::countr_zero(hits)));
    }
  }
  if (at < size) {  // a page that is cut short
    std::array<std::byte, 16> rest{};
    std::ranges::copy(text.subspan(at, size - at), rest.begin());
    for (unsigned hits = may_begin(rest.data(), one_byte_wanted); hits != 0; hits &= hits - 1) {
      consider(at + static_cast<std::size_t>(std::countr_zero(hits)));
    }
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

}  // namespace

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
  for_each_opcode(text, size, wanted.intersects(kSilentOneByte), [&](std::size_t at) {
    const auto bare = decode_opcode(text, at, branches);
    if (!bare || !wanted.contains(bare->cls)) {
      return;
    }
    if (!followed) {
      follow();
    }
    if (scan.candidates < candidates.size()) {
      candidates[scan.candidates] = judge(map, at, *bare);
    }
    ++scan.candidates;
  });
  return scan;
}

}  // namespace enclume::engine
