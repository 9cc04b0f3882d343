// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/code_map.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <set>
#include <vector>

namespace enclume::engine {
namespace {

struct MappedCode {
  explicit MappedCode(std::initializer_list<unsigned> code, std::size_t mapped = ~std::size_t{0}) {
    for (const unsigned byte : code) {
      text.push_back(static_cast<std::byte>(byte));
    }
    size = std::min(mapped, text.size());
    storage.resize(CodeMap::storage_words(size));
  }
  CodeMap map() { return {text, size, storage, decode::BranchRule::Intel}; }

  std::vector<std::byte> text;
  std::size_t size = 0;
  std::vector<std::uint64_t> storage;
};

std::set<std::int64_t> follow(CodeMap& map, std::size_t offset) {
  std::set<std::int64_t> outside;
  map.follow(offset, [&](std::int64_t at) { outside.insert(at); });
  return outside;
}

TEST(CodeMapSweep, AcceptsStraightCode) {
  MappedCode code({0x90, 0x0f, 0xa2, 0xc3});
  CodeMap map = code.map();
  ASSERT_TRUE(map.sweep());
  EXPECT_TRUE(map.is_start(1));
  EXPECT_FALSE(map.is_start(2));
  EXPECT_TRUE(map.is_inside(2));
  EXPECT_EQ(map.instruction_at(2)->offset, 1u);
}

TEST(CodeMapSweep, RefusesAnInstructionThatCrossesTheEnd) {
  MappedCode code({0x90, 0xb8, 0x01, 0x02, 0x03, 0x04, 0x05}, 4);
  EXPECT_FALSE(code.map().sweep());
}

TEST(CodeMapSweep, RefusesABranchIntoAnInstruction) {
  MappedCode code({0xeb, 0x01, 0xb8, 0x0f, 0xa2, 0x90, 0x90, 0xc3});  // jmp to the immediate
  EXPECT_FALSE(code.map().sweep());
}

TEST(CodeMapSweep, AcceptsABranchOverALockPrefixOnly) {
  // je over the F0 of lock cmpxchg %ecx,(%rsi)
  EXPECT_TRUE(MappedCode({0x74, 0x01, 0xf0, 0x0f, 0xb1, 0x0e, 0xc3}).map().sweep());
  // ... over the 66 of cmpxchg %cx,(%rsi): another instruction
  EXPECT_FALSE(MappedCode({0x74, 0x01, 0x66, 0x0f, 0xb1, 0x0e, 0xc3}).map().sweep());
}

TEST(CodeMapSweep, RefusesUndefinedBytes) {
  MappedCode code({0x90, 0x06, 0xc3});
  EXPECT_FALSE(code.map().sweep());
}

TEST(CodeMapSweep, BranchesThatLeaveAreNobodysBusiness) {
  MappedCode code({0xeb, 0x7f, 0x74, 0x80, 0xe8, 0, 0, 0, 0x40});
  EXPECT_TRUE(code.map().sweep());
}

TEST(CodeMapFollow, StopsAtReturnsAndTellsWhereItLeft) {
  MappedCode code({
      0x74, 0x03,                    // 0: je 5
      0x0f, 0xa2,                    // 2: cpuid
      0xc3,                          // 4: ret
      0xe8, 0x00, 0x10, 0x00, 0x00,  // 5: call 0x100a
      0xe9, 0xf0, 0xff, 0xff, 0xff,  // 10: jmp -1
      0x0f, 0xa2,                    // 15: nobody comes here
  });
  CodeMap map = code.map();
  EXPECT_EQ(follow(map, 0), (std::set<std::int64_t>{0x100a, -1}));
  EXPECT_TRUE(map.is_start(2));
  EXPECT_TRUE(map.is_start(5));
  EXPECT_TRUE(map.is_start(10));
  EXPECT_FALSE(map.is_start(15));
  EXPECT_EQ(map.instruction_at(15), std::nullopt);
  EXPECT_FALSE(map.has_overlap());
}

TEST(CodeMapFollow, FallsOverTheEndWithAnInstructionThatCrossesIt) {
  MappedCode code({0x90, 0xb8, 0x01, 0x02, 0x03, 0x04, 0x90}, 4);
  CodeMap map = code.map();
  EXPECT_EQ(follow(map, 0), (std::set<std::int64_t>{6}));
  EXPECT_TRUE(map.is_start(1));
  EXPECT_TRUE(map.is_inside(3));
}

TEST(CodeMapFollow, LoopsEnd) {
  MappedCode code({0x90, 0xeb, 0xfd});
  CodeMap map = code.map();
  EXPECT_TRUE(follow(map, 0).empty());
}

TEST(CodeMapFollow, OverlapIsSeenInEitherOrder) {
  for (const std::size_t first : {0u, 1u}) {
    MappedCode code({0xb8, 0x0f, 0xa2, 0xc3, 0x90, 0xc3});
    CodeMap map = code.map();
    follow(map, first);
    EXPECT_FALSE(map.has_overlap());
    follow(map, 1 - first);
    EXPECT_TRUE(map.has_overlap());
    EXPECT_EQ(map.instruction_at(2), std::nullopt) << "two instructions have this byte";
  }
}

TEST(CodeMapFollow, SkippedLockPrefixIsNoOverlap) {
  for (const std::size_t first : {0u, 1u}) {
    MappedCode code({0xf0, 0x0f, 0xb1, 0x0e, 0xc3});  // lock cmpxchg %ecx,(%rsi); ret
    CodeMap map = code.map();
    follow(map, first);
    follow(map, 1 - first);
    EXPECT_FALSE(map.has_overlap());
    EXPECT_EQ(map.instruction_at(3)->offset, 0u);
  }
}

TEST(CodeMapFollow, UndefinedBytesEndAPathOnly) {
  MappedCode code({0x74, 0x01, 0x06, 0x0f, 0xa2, 0xc3});
  CodeMap map = code.map();
  follow(map, 0);
  EXPECT_FALSE(map.is_start(2));
  EXPECT_TRUE(map.is_start(3));
}

TEST(CodeMapFollow, ManyBranchesAreAllFollowed) {
  // 500 conditional branches, each to its own CPUID behind all of them.
  std::vector<std::byte> text;
  constexpr std::size_t kBranches = 500;
  for (std::size_t i = 0; i < kBranches; ++i) {
    const std::size_t target = kBranches * 6 + 1 + i * 3;
    const auto distance = static_cast<std::uint32_t>(target - (i * 6 + 6));
    for (const unsigned byte : {0x0fu, 0x84u, distance & 0xff, distance >> 8 & 0xff, 0u, 0u}) {
      text.push_back(static_cast<std::byte>(byte));
    }
  }
  text.push_back(std::byte{0xc3});
  for (std::size_t i = 0; i < kBranches; ++i) {
    for (const unsigned byte : {0x0fu, 0xa2u, 0xc3u}) {
      text.push_back(static_cast<std::byte>(byte));
    }
  }
  std::vector<std::uint64_t> storage(CodeMap::storage_words(text.size()));
  CodeMap map(text, text.size(), storage, decode::BranchRule::Intel);
  EXPECT_TRUE(follow(map, 0).empty());
  for (std::size_t i = 0; i < kBranches; ++i) {
    EXPECT_TRUE(map.is_start(kBranches * 6 + 1 + i * 3)) << i;
  }
}

}  // namespace
}  // namespace enclume::engine
