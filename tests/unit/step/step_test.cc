// SPDX-License-Identifier: Apache-2.0
#include "engine/step/step.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <vector>

#include "engine/decode/decoder.h"

namespace enclume::engine {
namespace {

using arch::CpuState;
using arch::Reg;
using arch::rflags::kTf;

constexpr std::uint64_t kRip = 0x10'0000;
constexpr std::uint64_t kCopy = 0x7f00'0000'0040;

class StepTest : public ::testing::Test {
 protected:
  StepTest() {
    cpu_.rip = kRip;
    cpu_.rflags = 0x202;
  }

  decode::Instruction arm(std::initializer_list<unsigned> code, bool out_of_line = false,
                          bool absolute = false) {
    std::vector<std::byte> bytes;
    for (const unsigned b : code) {
      bytes.push_back(static_cast<std::byte>(b));
    }
    const auto instruction = decode::decode(bytes);
    EXPECT_TRUE(instruction.has_value());
    const OutOfLine elsewhere{kCopy, absolute};
    arm_step(step_, cpu_, &*instruction, out_of_line ? &elsewhere : nullptr);
    return *instruction;
  }
  StepEnd end(bool trap, bool tf_allowed = false) { return end_step(step_, cpu_, trap, tf_allowed); }
  bool tf() const { return (cpu_.rflags & kTf) != 0; }

  StepState step_;
  CpuState cpu_;
};

TEST_F(StepTest, NothingToEndWithoutAStep) {
  const StepEnd nothing = end(true);
  EXPECT_FALSE(nothing.taken);
  EXPECT_EQ(cpu_.rip, kRip);
}

TEST_F(StepTest, TrapFlagIsSetForTheInstructionOnly) {
  arm({0x90});
  EXPECT_TRUE(tf());
  cpu_.rip += 1;
  EXPECT_TRUE(end(true).taken);
  EXPECT_FALSE(tf());
  EXPECT_FALSE(end(true).taken) << "it is over";
}

TEST_F(StepTest, TrapFlagOfTheEnclaveStays) {
  cpu_.rflags |= kTf;
  arm({0x90});
  EXPECT_TRUE(end(true).enclave_tf);
  EXPECT_TRUE(tf());
}

TEST_F(StepTest, FaultLeavesRegistersAsTheyWere) {
  arm({0x48, 0x8b, 0x00});
  EXPECT_FALSE(end(false).taken);
  EXPECT_EQ(cpu_.rip, kRip);
  EXPECT_FALSE(tf());
}

TEST_F(StepTest, PushedFlagsAreCleanedUnlessTheEnclaveSetsTheTrapFlagItself) {
  arm({0x9c});
  EXPECT_TRUE(end(true).clear_pushed_tf);
  arm({0x9c});
  EXPECT_FALSE(end(false).clear_pushed_tf) << "nothing was pushed";
  cpu_.rflags |= kTf;
  arm({0x66, 0x9c});
  EXPECT_FALSE(end(true).clear_pushed_tf);
}

TEST_F(StepTest, PoppedTrapFlagCountsAfterDebugOptInOnly) {
  for (const bool opt_in : {false, true}) {
    for (const bool popped : {false, true}) {
      cpu_.rflags = 0x202;
      arm({0x9d});
      cpu_.rflags = 0x202 | (popped ? kTf : 0);
      const StepEnd ended = end(true, opt_in);
      EXPECT_FALSE(ended.enclave_tf) << "TF counts from the next instruction on";
      EXPECT_EQ(tf(), popped && opt_in);
    }
  }
}

TEST_F(StepTest, IterationOfAStringInstructionIsNotItsEnd) {
  arm({0xf3, 0xa4});
  EXPECT_TRUE(end(true).again);
  arm({0xf3, 0xa4});
  cpu_.rip += 2;
  EXPECT_FALSE(end(true).again);
}

TEST_F(StepTest, RipOutOfLineIsTranslated) {
  arm({0x90}, true);
  EXPECT_EQ(cpu_.rip, kCopy);
  cpu_.rip = kCopy + 1;
  end(true);
  EXPECT_EQ(cpu_.rip, kRip + 1);

  cpu_.rip = kRip;
  arm({0x48, 0x8b, 0x00}, true);
  end(false);
  EXPECT_EQ(cpu_.rip, kRip) << "a fault";

  arm({0xcc}, true);
  cpu_.rip = kCopy + 1;
  end(false);
  EXPECT_EQ(cpu_.rip, kRip + 1) << "a trap that is not a single step";
}

TEST_F(StepTest, BranchOutOfLineGoesAsFarAsTheOriginal) {
  arm({0xe9, 0x00, 0x10, 0x00, 0x00}, true);
  cpu_.rip = kCopy + 5 + 0x1000;
  end(true);
  EXPECT_EQ(cpu_.rip, kRip + 5 + 0x1000);

  cpu_.rip = kRip;
  arm({0x75, 0xf0}, true);
  cpu_.rip = kCopy + 2 - 0x10;
  end(true);
  EXPECT_EQ(cpu_.rip, kRip + 2 - 0x10);
}

TEST_F(StepTest, ReturnOutOfLineGoesWhereItSays) {
  arm({0xc3}, true, true);
  cpu_.rip = kCopy + 3;  // wherever that is
  end(true);
  EXPECT_EQ(cpu_.rip, kCopy + 3);
}

TEST_F(StepTest, CallOutOfLineLeavesTheReturnAddressToBeMended) {
  arm({0xe8, 0x00, 0x10, 0x00, 0x00}, true);
  cpu_.rip = kCopy + 5 + 0x1000;
  EXPECT_EQ(end(true).return_address, kRip + 5);
  cpu_.rip = kRip;
  arm({0xff, 0xd0}, true, true);
  EXPECT_EQ(end(false).return_address, 0u) << "it faulted";
  arm({0xe8, 0x00, 0x10, 0x00, 0x00});
  EXPECT_EQ(end(true).return_address, 0u) << "in place it is right";
}

TEST_F(StepTest, RegistersLentToTheInstructionComeBack) {
  cpu_[Reg::Rax] = 1;
  cpu_[Reg::Rdx] = 2;
  for (const bool trap : {false, true}) {
    arm({0x0f, 0xae, 0x21});
    step_.repair = StepState::Repair::Registers;
    step_.rax = 1;
    step_.rdx = 2;
    cpu_[Reg::Rax] = cpu_[Reg::Rdx] = 0;
    end(trap);
    EXPECT_EQ(cpu_[Reg::Rax], 1u);
    EXPECT_EQ(cpu_[Reg::Rdx], 2u);
  }
}

}  // namespace
}  // namespace enclume::engine
