// SPDX-License-Identifier: Apache-2.0
// Single-stepping at the enclave boundary (SDM Vol. 3D, chapter "Enclave Code Debug and Profiling"): what
// becomes of TF and when a #DB is pending, for opt-out and opt-in entries.
#include <gtest/gtest.h>

#include "arch/enclu/debug.h"
#include "unit/arch_enclu/world.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kTf = arch::rflags::kTf;

struct Row {
  bool opt_in;
  bool tf;
};

class SingleStepTest : public ::testing::TestWithParam<Row> {
 protected:
  SingleStepTest() { w.tcs().flags = GetParam().opt_in ? arch::tcs_flags::kDbgOptIn : 0; }
  [[nodiscard]] bool opt_in() const { return GetParam().opt_in; }
  [[nodiscard]] bool tf() const { return GetParam().tf; }
  void set_tf(bool on) { w.cpu.rflags = (w.cpu.rflags & ~kTf) | (on ? kTf : 0); }
  [[nodiscard]] bool has_tf() const { return (w.cpu.rflags & kTf) != 0; }
  World w;
};

TEST_P(SingleStepTest, Eenter) {
  set_tf(tf());
  ASSERT_TRUE(w.eenter().has_value());
  EXPECT_EQ(w.lp.dbgoptin, opt_in());
  EXPECT_EQ(has_tf(), opt_in() && tf());
  EXPECT_EQ(w.cpu.pending_single_step, opt_in() && tf()) << "taken inside, at OENTRY";
}

TEST_P(SingleStepTest, Eresume) {
  ASSERT_TRUE(w.eenter().has_value());
  w.aex();
  w.gprsgx(0).rflags |= kTf;  // not taken from there
  set_tf(tf());
  ASSERT_TRUE(w.eresume().has_value());
  EXPECT_EQ(has_tf(), opt_in() && tf()) << "the first instruction inside runs, then #DB";
  EXPECT_FALSE(w.cpu.pending_single_step);
}

TEST_P(SingleStepTest, Eexit) {
  set_tf(tf());
  ASSERT_TRUE(w.eenter().has_value());
  ASSERT_TRUE(w.eexit(kAep).has_value());
  EXPECT_EQ(has_tf(), tf());
  EXPECT_EQ(w.cpu.pending_single_step, tf());
}

TEST_P(SingleStepTest, EexitAfterTfChangedInside) {
  set_tf(tf());
  ASSERT_TRUE(w.eenter().has_value());
  set_tf(!tf());
  ASSERT_TRUE(w.eexit(kAep).has_value());
  EXPECT_EQ(has_tf(), opt_in() ? !tf() : tf());
  EXPECT_EQ(w.cpu.pending_single_step, has_tf());
}

TEST_P(SingleStepTest, Aex) {
  set_tf(tf());
  ASSERT_TRUE(w.eenter().has_value());
  w.aex({.exception = true, .vector = arch::Vector::UD, .error_code = 0, .address = {}, .save_rf = true});
  EXPECT_EQ(has_tf(), tf());
  EXPECT_EQ(w.gprsgx(0).rflags & kTf, 0U);
  EXPECT_FALSE(w.cpu.pending_single_step) << "a fault reports no single step";
}

TEST_P(SingleStepTest, AexAfterResume) {
  // The SDM's pseudocode would lose TF here for opt-out entries, its text would not.
  ASSERT_TRUE(w.eenter().has_value());
  w.aex();
  set_tf(tf());
  ASSERT_TRUE(w.eresume().has_value());
  w.aex();
  EXPECT_EQ(has_tf(), tf());
}

TEST_P(SingleStepTest, LeavesInside) {
  ASSERT_TRUE(w.eenter().has_value());
  // On a processor POPF sets no TF after an opt-out entry; where it did all the same, nothing comes of it.
  set_tf(tf());
  w.object_at<std::uint64_t>(at::kData) = arch::secinfo_flags_of(arch::PageType::Reg, 3);
  const std::uint64_t rip = w.cpu.rip;
  ASSERT_TRUE(w.inside(arch::EncluLeaf::Emodpe, kBase + at::kData, kBase + at::kOtherData).has_value());
  EXPECT_EQ(w.cpu.rip, rip + 3);
  EXPECT_EQ(w.cpu.pending_single_step, opt_in() && tf());
}

TEST_P(SingleStepTest, FaultingLeavesReportNoStep) {
  set_tf(tf());
  w.tcs().state = arch::tcs_state::kActive;
  EXPECT_FALSE(w.eenter().has_value());
  EXPECT_FALSE(w.cpu.pending_single_step);
  EXPECT_EQ(has_tf(), tf());
}

TEST(SingleStepOptInTest, ResumeDropsWhatWasPending) {
  World w;
  w.tcs().flags = arch::tcs_flags::kDbgOptIn;
  w.cpu.rflags |= kTf;
  ASSERT_TRUE(w.eenter().has_value());
  w.aex();
  w.cpu.pending_single_step = true;
  ASSERT_TRUE(w.eresume().has_value());
  EXPECT_FALSE(w.cpu.pending_single_step);
}

TEST(SingleStepOptInTest, NotifyingResumeStepsAsEenterDoes) {
  for (const bool tf : {false, true}) {
    World w;
    w.tcs().flags = arch::tcs_flags::kDbgOptIn | arch::tcs_flags::kAexNotify;
    ASSERT_TRUE(w.eenter().has_value());
    w.aex();
    w.gprsgx(0).aexnotify = 1;
    w.cpu.rflags |= tf ? kTf : 0;
    ASSERT_TRUE(w.eresume().has_value());
    EXPECT_EQ(w.cpu.pending_single_step, tf);
  }
}

TEST(DebugConditionTest, WhatCountsInEnclaveMode) {
  using arch::DebugCondition;
  arch::LogicalProcessor lp;
  lp.elrange = {LinearAddress(0x10000), LinearAddress(0x20000)};
  const LinearAddress inside(0x1fff8);
  const LinearAddress outside(0x20000);
  for (const bool opt_in : {false, true}) {
    lp.dbgoptin = opt_in;
    EXPECT_EQ(arch::counts_in_enclave(lp, DebugCondition::SingleStep, inside), opt_in);
    EXPECT_EQ(arch::counts_in_enclave(lp, DebugCondition::CodeBreakpoint, inside), opt_in);
    EXPECT_EQ(arch::counts_in_enclave(lp, DebugCondition::DataBreakpoint, inside), opt_in);
    EXPECT_FALSE(arch::counts_in_enclave(lp, DebugCondition::CodeBreakpoint, outside));
    EXPECT_TRUE(arch::counts_in_enclave(lp, DebugCondition::DataBreakpoint, outside));
  }
}

INSTANTIATE_TEST_SUITE_P(Entries, SingleStepTest,
                         ::testing::Values(Row{false, false}, Row{false, true}, Row{true, false},
                                           Row{true, true}),
                         [](const auto& row) {
                           return std::string(row.param.opt_in ? "OptIn" : "OptOut") +
                                  (row.param.tf ? "WithTf" : "WithoutTf");
                         });

}  // namespace
}  // namespace enclume::test
