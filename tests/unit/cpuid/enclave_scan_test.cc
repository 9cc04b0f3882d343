// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/enclave_scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>
#include <vector>

namespace enclume::engine {
namespace {

using decode::InstructionClass;
using enum CandidateVerdict;

constexpr ClassSet kAll = kSilentTwoByte | kSilentOneByte | kSilentOnSgx1;

// A page of RET, into which a test puts code, and maybe the beginning of the next page.
class Page {
 public:
  Page() : text_(kPageSize, std::byte{0xc3}) {}

  Page& put(std::size_t offset, std::initializer_list<unsigned> bytes) {
    text_.resize(std::max(text_.size(), offset + bytes.size()), std::byte{0xc3});
    std::ranges::transform(bytes, text_.begin() + static_cast<std::ptrdiff_t>(offset),
                           [](unsigned b) { return static_cast<std::byte>(b); });
    return *this;
  }

  struct Result {
    std::vector<Candidate> candidates;
    std::vector<std::int64_t> leads;

    [[nodiscard]] CandidateVerdict verdict_at(std::size_t opcode) const {
      const auto found = std::ranges::find(candidates, opcode, &Candidate::opcode);
      EXPECT_NE(found, candidates.end()) << "no candidate at " << opcode;
      return found == candidates.end() ? Undecided : found->verdict;
    }
  };

  [[nodiscard]] Result scan(std::vector<std::uint16_t> starts, ClassSet wanted = kAll) const {
    Result result;
    result.candidates.resize(kPageSize);
    result.leads.resize(kPageSize);
    const PageScan counts =
        scan_enclave_page(text_, starts, wanted, decode::BranchRule::Intel, result.candidates, result.leads);
    result.candidates.resize(std::min(counts.candidates, result.candidates.size()));
    result.leads.resize(std::min(counts.leads, result.leads.size()));
    return result;
  }

  [[nodiscard]] std::span<const std::byte> text() const { return text_; }

 private:
  std::vector<std::byte> text_;
};

TEST(EnclaveScan, PageWithoutCandidatesHasNone) {
  const auto result = Page().put(0, {0x90, 0x0f, 0x05, 0xeb, 0xfb}).scan({0});
  EXPECT_TRUE(result.candidates.empty());
  EXPECT_TRUE(result.leads.empty());
}

TEST(EnclaveScan, StraightCodeFromTheFirstFetchIsProven) {
  const auto result = Page().put(100, {0x31, 0xc0, 0x0f, 0xa2, 0xc3}).scan({100});
  ASSERT_EQ(result.candidates.size(), 1u);
  EXPECT_EQ(
      result.candidates[0],
      (Candidate{
          .opcode = 102, .start = 102, .length = 2, .cls = InstructionClass::Cpuid, .verdict = Instruction}));
}

TEST(EnclaveScan, PrefixesBelongToTheInstruction) {
  const auto result = Page().put(0, {0xf3, 0x66, 0x0f, 0xa2, 0xc3}).scan({0});
  ASSERT_EQ(result.candidates.size(), 1u);
  EXPECT_EQ(result.candidates[0].start, 0);
  EXPECT_EQ(result.candidates[0].opcode, 2);
  EXPECT_EQ(result.candidates[0].length, 4);
}

TEST(EnclaveScan, ImmediatesAndDisplacementsAreInterior) {
  const auto result = Page()
                          .put(0, {0xb8, 0x0f, 0xa2, 0x00, 0x00})  // mov $0xa20f, %eax
                          .put(5, {0x8b, 0x80, 0x0f, 0xa2, 0, 0})  // mov 0xa20f(%rax), %eax
                          .scan({0}, kSilentTwoByte);
  EXPECT_EQ(result.verdict_at(1), Interior);
  EXPECT_EQ(result.verdict_at(7), Interior);
}

TEST(EnclaveScan, OpcodeAndModrmOfAVectorInstructionAreInterior) {
  // vpalignr $5, 0(%rdx), %xmm0, %xmm4, whose opcode is 0F and whose ModRM is A2
  const auto result = Page().put(0, {0xc4, 0xe3, 0x79, 0x0f, 0xa2, 0, 0, 0, 0, 0x05, 0xc3}).scan({0});
  EXPECT_EQ(result.verdict_at(3), Interior);
}

TEST(EnclaveScan, WhatNobodyReachesIsUndecided) {
  const auto result = Page().put(0, {0xc3, 0x0f, 0xa2}).put(2000, {0x0f, 0xa2}).scan({0});
  EXPECT_EQ(result.verdict_at(1), Undecided);
  EXPECT_EQ(result.verdict_at(2000), Undecided);
}

TEST(EnclaveScan, BranchesAndCallsInsideThePageAreFollowed) {
  const auto result = Page()
                          .put(0, {0x74, 0x20})                          // je 34
                          .put(2, {0xe8, 0xf9, 0x01, 0x00, 0x00, 0xc3})  // call 512; ret
                          .put(34, {0x0f, 0xa2, 0xc3})
                          .put(512, {0xe9, 0xfb, 0x03, 0x00, 0x00})  // jmp 1536
                          .put(1536, {0x0f, 0x01, 0xe0, 0xc3})       // smsw %eax
                          .scan({0});
  EXPECT_EQ(result.verdict_at(34), Instruction);
  EXPECT_EQ(result.verdict_at(1536), Instruction);
}

TEST(EnclaveScan, IndirectJumpsAreNotGuessed) {
  const auto result = Page().put(0, {0xff, 0xe0, 0x0f, 0xa2}).scan({0}, kSilentTwoByte);
  EXPECT_EQ(result.verdict_at(2), Undecided);
}

TEST(EnclaveScan, LaterStartsDecideMore) {
  const Page page = Page().put(0, {0xc3}).put(64, {0x0f, 0xa2, 0xc3});
  EXPECT_EQ(page.scan({0}).verdict_at(64), Undecided);
  EXPECT_EQ(page.scan({0, 64}).verdict_at(64), Instruction);
}

TEST(EnclaveScan, OverlappingCodeIsContested) {
  const Page page = Page().put(0, {0xb8, 0x0f, 0xa2, 0x90, 0x90, 0xc3});
  EXPECT_EQ(page.scan({0}, kSilentTwoByte).verdict_at(1), Interior);
  EXPECT_EQ(page.scan({1}, kSilentTwoByte).verdict_at(1), Instruction);
  EXPECT_EQ(page.scan({0, 1}, kSilentTwoByte).verdict_at(1), Contested);
}

TEST(EnclaveScan, InstructionThatCrossesIntoTheNextPage) {
  const Page page = Page().put(4094, {0xf2, 0x0f}).put(4096, {0xa2, 0xc3});
  const auto result = page.scan({4094});
  EXPECT_EQ(result.verdict_at(4095), Instruction);
  EXPECT_EQ(result.leads, std::vector<std::int64_t>{4097});
}

TEST(EnclaveScan, BytesOfTheNextPageAreNoCandidates) {
  EXPECT_TRUE(Page().put(4096, {0x0f, 0xa2}).scan({0}).candidates.empty());
}

TEST(EnclaveScan, WithoutTheNextPageAnOpcodeIsCompletedByZeros) {
  const auto result = Page().put(4095, {0x8e}).scan({4095});
  ASSERT_EQ(result.candidates.size(), 1u);
  EXPECT_EQ(result.candidates[0].cls, InstructionClass::MovToSegment);
  EXPECT_EQ(result.candidates[0].verdict, Undecided) << "what can't be decoded proves nothing";
}

TEST(EnclaveScan, LeadsAreWhereControlLeavesThePage) {
  const auto result = Page()
                          .put(0, {0x0f, 0x84, 0xfa, 0x1f, 0x00, 0x00})  // je 0x2000
                          .put(6, {0xeb, 0xf8 - 0x20})                   // jmp -32
                          .scan({0});
  EXPECT_EQ(std::ranges::count(result.leads, 0x2000), 1);
  EXPECT_EQ(std::ranges::count(result.leads, -32), 1);
  EXPECT_EQ(result.leads.size(), 2u);
}

TEST(EnclaveScan, EveryClassIsSeen) {
  struct Case {
    std::initializer_list<unsigned> bytes;
    InstructionClass cls;
  };
  const Case cases[] = {
      {{0x0f, 0xa2}, InstructionClass::Cpuid},
      {{0x0f, 0x01, 0x00}, InstructionClass::Sgdt},
      {{0x0f, 0x01, 0x08}, InstructionClass::Sidt},
      {{0x0f, 0x00, 0xc0}, InstructionClass::Sldt},
      {{0x0f, 0x00, 0xc8}, InstructionClass::Str},
      {{0x0f, 0x01, 0xe0}, InstructionClass::Smsw},
      {{0x0f, 0xa1}, InstructionClass::PopSegment},
      {{0x0f, 0xa9}, InstructionClass::PopSegment},
      {{0x0f, 0xb2, 0x00}, InstructionClass::LoadFarPointer},
      {{0x0f, 0xb4, 0x00}, InstructionClass::LoadFarPointer},
      {{0x0f, 0xb5, 0x00}, InstructionClass::LoadFarPointer},
      {{0x8e, 0xd8}, InstructionClass::MovToSegment},
      {{0xff, 0x18}, InstructionClass::FarCall},
      {{0xff, 0x28}, InstructionClass::FarJmp},
      {{0xcb}, InstructionClass::FarRet},
      {{0xca, 0x08, 0x00}, InstructionClass::FarRet},
      {{0xcf}, InstructionClass::Iret},
      {{0x0f, 0x31}, InstructionClass::Rdtsc},
      {{0x0f, 0x01, 0xf9}, InstructionClass::Rdtscp},
  };
  for (const Case& c : cases) {
    const Page page = Page().put(0, c.bytes);
    const auto result = page.scan({0});
    ASSERT_EQ(result.candidates.size(), 1u) << static_cast<int>(c.cls);
    EXPECT_EQ(result.candidates[0].cls, c.cls);
    EXPECT_EQ(result.candidates[0].verdict, Instruction);
    EXPECT_EQ(result.candidates[0].length, c.bytes.size());
    EXPECT_TRUE(page.scan({0}, ClassSet{}).candidates.empty());
  }
}

TEST(EnclaveScan, FaultingInstructionsAreNotLookedFor) {
  // in, out, int 0x80, int3, int1, rdpmc, syscall, vmfunc
  const auto result =
      Page().put(0, {0xec, 0xee, 0xcd, 0x80, 0xcc, 0xf1, 0x0f, 0x33, 0x0f, 0x05, 0x0f, 0x01, 0xd4}).scan({0});
  EXPECT_TRUE(result.candidates.empty());
}

TEST(EnclaveScan, WhatAHypervisorOrAKernelMayAnswerIsLookedFor) {
  // vmcall, vmmcall, sysenter
  const auto result =
      Page().put(0, {0x0f, 0x01, 0xc1, 0x0f, 0x01, 0xd9, 0x0f, 0x34}).scan({0}, kSilentTwoByte);
  EXPECT_EQ(result.verdict_at(0), Instruction);
  EXPECT_EQ(result.verdict_at(3), Instruction);
  EXPECT_EQ(result.verdict_at(6), Instruction);
}

TEST(EnclaveScan, CountsTellWhatDidNotFit) {
  Page page;
  for (std::size_t i = 0; i < 10; ++i) {
    page.put(2 * i, {0x0f, 0xa2});
  }
  std::array<Candidate, 3> few;
  const std::array<std::uint16_t, 1> start = {0};
  const PageScan scan =
      scan_enclave_page(page.text(), start, kSilentTwoByte, decode::BranchRule::Intel, few, {});
  EXPECT_EQ(scan.candidates, 10u);
  EXPECT_EQ(few[2].opcode, 4);
}

TEST(EnclaveScan, HostileStartsAndShortTextAreHarmless) {
  EXPECT_TRUE(Page().scan({4096, 0xffff}).candidates.empty());
  std::array<Candidate, 4> candidates;
  const std::array<std::uint16_t, 3> starts = {0, 1, 5};
  const std::array<std::byte, 3> text = {std::byte{0x0f}, std::byte{0xa2}, std::byte{0x0f}};
  EXPECT_EQ(scan_enclave_page(text, starts, kAll, decode::BranchRule::Intel, candidates, {}).candidates, 2u);
  EXPECT_EQ(scan_enclave_page({}, starts, kAll, decode::BranchRule::Intel, candidates, {}).candidates, 0u);
}

}  // namespace
}  // namespace enclume::engine
