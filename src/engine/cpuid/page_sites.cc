// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/page_sites.h"

#include <cstring>

#include "engine/cpuid/candidates.h"
#include "engine/cpuid/code_map.h"

namespace enclume::engine {
namespace {

constexpr std::byte kUd2SecondByte{0x0b};
/// PUSH ES outside 64-bit mode, undefined in it. For an opcode whose second byte lies in the next page.
constexpr std::byte kUndefinedOneByte{0x06};

}  // namespace

PageSites find_page_sites(const PageText& text, std::span<const std::uint16_t> starts, ClassSet wanted,
                          decode::BranchRule branches) noexcept {
  PageSites result;
  const std::span<const std::byte> page = text.from_page();
  std::array<std::uint64_t, CodeMap::storage_words(kPageSize)> storage{};
  CodeMap map(page, kPageSize, storage, branches);
  bool followed = false;
  for_each_candidate(page, kPageSize, wanted, branches, [&](std::size_t at, const decode::Instruction& bare) {
    const Vote vote = vote_on_site(text.all(), text.before + at, bare.cls, branches);
    if (vote == Vote::Interior || vote == Vote::Data) {
      return;
    }
    if (!followed) {
      for (const std::uint16_t start : starts) {
        map.follow(start, [](std::int64_t) {});
      }
      followed = true;
    }
    switch (judge_candidate(map, at, bare).verdict) {
      case CandidateVerdict::Interior:
        return;
      case CandidateVerdict::Instruction:
        break;
      case CandidateVerdict::Undecided:
        if (vote == Vote::Site) {
          break;
        }
        [[fallthrough]];
      case CandidateVerdict::Contested:
        ++result.unclear;
        return;
    }
    result.opcodes.add(at);
    ++result.sites;
  });
  return result;
}

void write_patched_page(std::span<const std::byte> page, const PageOffsets& opcodes,
                        std::byte* out) noexcept {
  std::memcpy(out, page.data(), kPageSize);
  opcodes.for_each([&](std::size_t opcode) {
    if (opcode + 1 < kPageSize) {
      out[opcode + 1] = kUd2SecondByte;
    } else {
      out[opcode] = kUndefinedOneByte;
    }
  });
}

}  // namespace enclume::engine
