// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/site_vote.h"

#include <algorithm>
#include <array>

#include "base/types.h"
#include "engine/cpuid/code_odds.h"

namespace enclume::engine {
namespace {

using decode::Instruction;
using decode::InstructionClass;

// In half bits. Over the libraries of tests/unit/cpuid/site_vote_test.cc the weakest true site has 92
// together and the strongest pretender in code -27; the strongest in constants alone has 47.
constexpr int kEnoughBefore = 14;
constexpr int kEnoughBehind = 8;
constexpr int kEnoughTogether = 70;
constexpr int kMargin = 16;
constexpr int kEnoughForInterior = 30;
constexpr int kTooStrange = -20;

// What compilers do not emit.
constexpr int kOddPrefix = -6;
// A near branch of four bytes that stays within a page or two: one of a million would by chance.
constexpr int kBranchNearBy = 12;
constexpr std::int64_t kNearBy = kPageSize;

bool has_odd_prefix(const Instruction& in) noexcept {
  using enum decode::Segment;
  const bool nop = in.map == decode::OpcodeMap::Map0F && in.opcode == 0x1f;
  const bool odd_segment = in.segment == Cs || in.segment == Ds || in.segment == Es || in.segment == Ss;
  return (odd_segment && !nop) || in.address_size_override;
}

int weight(const Instruction& in) noexcept {
  int w = code_odds(in);
  if (has_odd_prefix(in)) {
    w += kOddPrefix;
  }
  if (decode::is_relative_branch(in.cls) && in.immediate_size == 4 && in.immediate > -kNearBy &&
      in.immediate < kNearBy && in.immediate != 0) {
    w += kBranchNearBy;
  }
  return w;
}

struct Chain {
  enum End : std::uint8_t {
    Invalid,
    AtSite,
    OverSite
  } end = Invalid;
  int odds = 0;
};

constexpr int kNone = -1'000'000;

// The best chain that has an instruction there, and the best that has another one over it.
struct Before {
  int at_site = kNone;
  int over_site = kNone;
};

Before look_before(std::span<const std::byte> text, std::size_t opcode, InstructionClass cls,
                   decode::BranchRule branches) noexcept {
  const std::size_t reach = std::min(opcode, kVoteBefore);
  std::array<Chain, kVoteBefore + 1> chains;  // by their distance from the candidate
  chains[0].end = Chain::AtSite;
  Before best;
  for (std::size_t back = 1; back <= reach; ++back) {
    const auto in = decode::decode(text.subspan(opcode - back), branches);
    if (!in) {
      continue;
    }
    Chain& chain = chains[back];
    if (in->length <= back) {
      chain = chains[back - in->length];
      chain.odds += weight(*in);
    } else if (in->opcode_offset == back && in->cls == cls) {
      chain = {Chain::AtSite, 0};  // with its prefixes
    } else {
      chain = {Chain::OverSite, weight(*in)};
    }
    if (chain.end == Chain::AtSite) {
      best.at_site = std::max(best.at_site, chain.odds);
    } else if (chain.end == Chain::OverSite) {
      best.over_site = std::max(best.over_site, chain.odds);
    }
  }
  return best;
}

// What follows the candidate. Behind an instruction that never falls through there may be anything.
int look_behind(std::span<const std::byte> text, std::size_t opcode, decode::BranchRule branches) noexcept {
  const std::size_t end = std::min(text.size(), opcode + kVoteBehind);
  int odds = 0;
  int best = kNone;
  for (std::size_t at = opcode; at < end;) {
    const auto in = decode::decode(text.subspan(at), branches);
    if (!in) {
      const bool cut_off = in.error() == decode::DecodeError::Truncated;
      return cut_off ? std::max(best, odds) : best;
    }
    if (at != opcode) {
      odds += weight(*in);
    }
    if (!decode::falls_through(in->cls)) {
      best = std::max(best, odds);
    }
    at += in->length;
  }
  return std::max(best, odds);
}

}  // namespace

Vote vote_on_site(std::span<const std::byte> text, std::size_t opcode, InstructionClass cls,
                  decode::BranchRule branches) noexcept {
  const Before before = look_before(text, opcode, cls, branches);
  if (before.over_site >= kEnoughForInterior && before.over_site - before.at_site >= kMargin) {
    return Vote::Interior;
  }
  const int behind = look_behind(text, opcode, branches);
  if (behind < kTooStrange) {
    return Vote::Data;
  }
  const bool clear = before.at_site >= kEnoughBefore && before.at_site - before.over_site >= kMargin &&
                     behind >= kEnoughBehind && before.at_site + behind >= kEnoughTogether;
  return clear ? Vote::Site : Vote::Unclear;
}

}  // namespace enclume::engine
