// SPDX-License-Identifier: Apache-2.0
//
// Instructions that have read what they should not have, undone. That each kind then gives the right result
// is shown by running them (tests/conformance/own_code_test.cc); here is what can't be undone, and what
// decides.
#include "engine/fast/reader.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <initializer_list>

namespace enclume::engine {
namespace {

constexpr std::uint64_t kCode = 0x10000;  // one page, NOPs but for what is tested
constexpr std::uint64_t kRip = kCode + 0x100;
constexpr std::uint64_t kWord = 0x20000;  // what was read, 8 bytes
constexpr std::uint64_t kOwn = 0x00000004b8909090;
constexpr std::uint64_t kSeen = 0x00123456e9909090;

class UndoRead : public ::testing::Test, protected ReaderMemory {
 protected:
  UndoRead() {
    code_.fill(std::byte{0x90});
    for (std::size_t i = 0; i < 16; ++i) cpu_.gpr[i] = 0x1111'1111'1111'1111 * i;
    cpu_.gpr[kRsi] = kWord;
    cpu_.rip = kRip;
    cpu_.rflags = 0x202;
  }
  static constexpr std::size_t kRax = 0, kRdx = 2, kRsi = 6;

  bool own(std::uint64_t address, std::byte* to, std::size_t size) override {
    for (std::size_t i = 0; i < size; ++i) {
      const std::uint64_t at = address + i;
      if (at - kCode < code_.size()) {
        to[i] = code_[at - kCode];
      } else if (at - kWord < 8) {
        to[i] = static_cast<std::byte>(kOwn >> (at - kWord) * 8);
      } else if (at - kWord + 64 < 256) {
        to[i] = std::byte{0};
      } else {
        return false;
      }
    }
    return true;
  }
  void overlay(std::uint64_t address, std::byte* bytes, std::size_t size) override {
    for (std::size_t i = 0; i < size; ++i) {
      if (address + i - kWord < 8) bytes[i] = static_cast<std::byte>(kSeen >> (address + i - kWord) * 8);
    }
  }

  // Behind this instruction.
  bool undo(std::initializer_list<unsigned> instruction) {
    length_ = instruction.size();
    std::size_t at = kRip - kCode - length_;
    for (const unsigned byte : instruction) code_.at(at++) = static_cast<std::byte>(byte);
    return undo_read(cpu_, kWord, *this, decode::BranchRule::Intel);
  }
  void expect_again() const { EXPECT_EQ(cpu_.rip, kRip - length_); }
  void expect_untouched(const arch::CpuState& before) const {
    EXPECT_EQ(cpu_.rip, before.rip);
    EXPECT_EQ(cpu_.gpr, before.gpr);
    EXPECT_EQ(cpu_.rflags, before.rflags);
  }

  arch::CpuState cpu_;
  std::array<std::byte, kPageSize> code_{};
  std::size_t length_ = 0;
};

TEST_F(UndoRead, LoadIsRepeated) {
  cpu_.gpr[kRax] = kSeen;
  EXPECT_TRUE(undo({0x48, 0x8b, 0x06}));  // mov (%rsi), %rax
  expect_again();
}

TEST_F(UndoRead, SumIsTakenBack) {
  cpu_.gpr[kRax] = 1000 + kSeen;
  EXPECT_TRUE(undo({0x48, 0x03, 0x06}));  // add (%rsi), %rax
  expect_again();
  EXPECT_EQ(cpu_.gpr[kRax], 1000u);
}

TEST_F(UndoRead, AddressThatWasOverwrittenIsFound) {
  cpu_.gpr[kRsi] = kSeen;
  EXPECT_TRUE(undo({0x48, 0x8b, 0x76, 0x10}));  // mov 16(%rsi), %rsi
  expect_again();
  EXPECT_EQ(cpu_.gpr[kRsi], kWord - 16);
}

TEST_F(UndoRead, AddressThatWasOverwrittenByWhatIsNotThereIsNot) {
  cpu_.gpr[kRsi] = 0x77;
  const auto before = cpu_;
  EXPECT_FALSE(undo({0x48, 0x8b, 0x76, 0x10}));
  expect_untouched(before);
}

TEST_F(UndoRead, AndLosesBits) {
  cpu_.gpr[kRax] = kSeen;
  const auto before = cpu_;
  EXPECT_FALSE(undo({0x48, 0x23, 0x06}));  // and (%rsi), %rax
  expect_untouched(before);
}

// The third byte is as it should be.
TEST_F(UndoRead, AndOfWhatWasNotChangedLosesNothing) {
  EXPECT_TRUE(undo({0x22, 0x46, 0x02}));  // and 2(%rsi), %al
  expect_again();
}

TEST_F(UndoRead, OrLosesBits) {
  const auto before = cpu_;
  EXPECT_FALSE(undo({0x0b, 0x46, 0x03}));  // or 3(%rsi), %eax
  expect_untouched(before);
}

TEST_F(UndoRead, DivisionGivesItsDividendBack) {
  const std::uint64_t dividend = 0xfedc'ba98'7654'3210;
  cpu_.gpr[kRax] = dividend / kSeen;
  cpu_.gpr[kRdx] = dividend % kSeen;
  EXPECT_TRUE(undo({0x48, 0xf7, 0x36}));  // divq (%rsi)
  expect_again();
  EXPECT_EQ(cpu_.gpr[kRax], dividend);
  EXPECT_EQ(cpu_.gpr[kRdx], 0u);
}

// `8b 06` is an instruction as well, that reads the same word and ends at the same place.
TEST_F(UndoRead, PrefixBelongsToIt) {
  cpu_.gpr[kRax] = kSeen;
  EXPECT_TRUE(undo({0x64, 0x48, 0x8b, 0x06}));  // mov %fs:(%rsi), %rax
  expect_again();
}

TEST_F(UndoRead, InstructionThatReadsElsewhereIsNotTheOne) {
  cpu_.gpr[kRsi] = kWord + 0x40;
  const auto before = cpu_;
  EXPECT_FALSE(undo({0x48, 0x8b, 0x06}));
  expect_untouched(before);
}

TEST_F(UndoRead, RepeatedStringStepsBackBetweenIterations) {
  code_[kRip - kCode] = std::byte{0xf3};
  code_[kRip - kCode + 1] = std::byte{0xa4};  // rep movsb, which goes on
  cpu_.gpr[kRsi] = kWord + 4;
  cpu_.gpr[7] = 0x5004;
  cpu_.gpr[1] = 10;
  cpu_.rflags |= arch::rflags::kRf;
  EXPECT_TRUE(undo_read(cpu_, kWord, *this, decode::BranchRule::Intel));
  EXPECT_EQ(cpu_.rip, kRip);
  EXPECT_EQ(cpu_.gpr[kRsi], kWord + 3);
  EXPECT_EQ(cpu_.gpr[7], 0x5003u);
  EXPECT_EQ(cpu_.gpr[1], 11u);
  EXPECT_EQ(cpu_.rflags & arch::rflags::kRf, 0u);
}

}  // namespace
}  // namespace enclume::engine
