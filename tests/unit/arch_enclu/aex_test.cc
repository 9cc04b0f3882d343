// SPDX-License-Identifier: Apache-2.0
// Asynchronous exit: SDM Vol. 3D, "AEX Operational Detail", "EXITINFO", "EXINFO Structure".
#include <gtest/gtest.h>

#include <random>

#include "unit/arch_enclu/world.h"

namespace enclume::test {
namespace {

using arch::AexEvent;
using arch::Reg;
using arch::Vector;

AexEvent exception(Vector v, std::uint32_t error_code = 0, std::uint64_t address = 0) {
  return {.exception = true,
          .vector = v,
          .error_code = error_code,
          .address = LinearAddress(address),
          .save_rf = true};
}

class AexTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(w.eenter().has_value());
    std::mt19937_64 random(1);
    for (std::uint64_t& r : w.cpu.gpr) {
      r = random();
    }
    w.cpu.rip = kBase + at::kCode + 0x42;
    w.cpu.fs_base = kBase + at::kData;
    w.cpu.gs_base = kBase + at::kOtherData;
  }
  World w;
};

TEST_F(AexTest, SavesEveryRegister) {
  const auto inside = w.cpu;
  w.aex();
  const arch::Gprsgx& saved = w.gprsgx(0);
  // By name and by the offset that the SDM gives each, not by the order of an array.
  constexpr std::pair<Reg, std::uint64_t> kOffsets[] = {
      {Reg::Rax, 0},  {Reg::Rcx, 8},   {Reg::Rdx, 16},  {Reg::Rbx, 24}, {Reg::Rsp, 32}, {Reg::Rbp, 40},
      {Reg::Rsi, 48}, {Reg::Rdi, 56},  {Reg::R8, 64},   {Reg::R9, 72},  {Reg::R10, 80}, {Reg::R11, 88},
      {Reg::R12, 96}, {Reg::R13, 104}, {Reg::R14, 112}, {Reg::R15, 120}};
  for (const auto& [reg, offset] : kOffsets) {
    EXPECT_EQ(w.frame_value<std::uint64_t>(0, kPageSize - 184 + offset), inside[reg]) << offset;
  }
  EXPECT_EQ(saved.rip, inside.rip);
  EXPECT_EQ(saved.fsbase, inside.fs_base);
  EXPECT_EQ(saved.gsbase, inside.gs_base);
}

TEST_F(AexTest, LoadsTheSyntheticRegisters) {
  w.aex();
  EXPECT_EQ(w.cpu[Reg::Rax], 3U);
  EXPECT_EQ(w.cpu[Reg::Rbx], kBase + at::kTcs);
  EXPECT_EQ(w.cpu[Reg::Rcx], kAep);
  EXPECT_EQ(w.cpu[Reg::Rsp], 0x7ffc'0000'1000U);
  EXPECT_EQ(w.cpu[Reg::Rbp], 0x7ffc'0000'1040U);
  for (const Reg r : {Reg::Rdx, Reg::Rsi, Reg::Rdi, Reg::R8, Reg::R9, Reg::R10, Reg::R11, Reg::R12, Reg::R13,
                      Reg::R14, Reg::R15}) {
    EXPECT_EQ(w.cpu[r], 0U) << static_cast<int>(r);
  }
  EXPECT_EQ(w.cpu.rip, kAep);
  EXPECT_EQ(w.cpu.fs_base, 0x1111'2222'3000U);
  EXPECT_EQ(w.cpu.gs_base, 0x4444'5555'6000U);
  EXPECT_FALSE(w.cpu.pending_single_step);
}

TEST_F(AexTest, LeavesTheTcsFreeAndCounted) {
  w.aex();
  EXPECT_EQ(w.tcs().cssa, 1U);
  EXPECT_EQ(w.tcs().state, arch::tcs_state::kInactive);
  EXPECT_EQ(w.page(w.tcs_index).epcm->owner, 0U);
  EXPECT_EQ(arch::tracking_inside(w.secs()), 0U);
  EXPECT_FALSE(w.lp.enclave_mode);
  EXPECT_EQ(w.lp.id, kThreadId);
}

TEST_F(AexTest, ClearsTheArithmeticFlagsAndLeaksTheOthers) {
  w.cpu.rflags = 0x3f7fd7 & ~arch::rflags::kTf;
  w.aex(exception(Vector::UD));
  // DF, NT, AC, ID, IF, IOPL, VIF and VIP go out as they were.
  EXPECT_EQ(w.cpu.rflags, 0x3f7fd7U & ~0x108d5ULL & ~arch::rflags::kTf);
}

TEST_F(AexTest, SavesTheFlagsWithoutTf) {
  w.cpu.rflags = 0x3f7fd7;
  w.aex();
  EXPECT_EQ(w.gprsgx(0).rflags, 0x3f7fd7U & ~arch::rflags::kTf);
}

TEST_F(AexTest, SavesRfSetForFaultsAndUnmodifiedElse) {
  struct Row {
    bool save_rf;
    bool rf_before;
    bool rf_saved;
  };
  for (const Row row :
       {Row{true, false, true}, Row{true, true, true}, Row{false, false, false}, Row{false, true, true}}) {
    World v;
    ASSERT_TRUE(v.eenter().has_value());
    v.cpu.rflags = 0x202 | (row.rf_before ? arch::rflags::kRf : 0);
    v.aex({.exception = true, .vector = Vector::DB, .error_code = 0, .address = {}, .save_rf = row.save_rf});
    EXPECT_EQ((v.gprsgx(0).rflags & arch::rflags::kRf) != 0, row.rf_saved);
    EXPECT_EQ(v.cpu.rflags & arch::rflags::kRf, 0U);
  }
}

TEST_F(AexTest, DoesNotTouchWhatItDoesNotWrite) {
  arch::Gprsgx& g = w.gprsgx(0);
  g.reserved.fill(std::byte{0xcc});
  g.aexnotify = 1;
  w.exinfo(0) = {0xaaaa, 0xbbbb, 0xcccc};
  w.aex(exception(Vector::UD));
  EXPECT_EQ(g.reserved, (arch::Bytes<3>{std::byte{0xcc}, std::byte{0xcc}, std::byte{0xcc}}));
  EXPECT_EQ(g.aexnotify, 1U);
  EXPECT_EQ(w.exinfo(0).maddr, 0xaaaaU) << "stale EXINFO stays";
  EXPECT_EQ(w.exinfo(0).errcd, 0xbbbbU);
  EXPECT_EQ(w.exinfo(0).reserved, 0xccccU);
}

// EXITINFO as the enclave must find it, without and with MISCSELECT.EXINFO.
struct Reported {
  Vector vector;
  std::uint32_t without;
  std::uint32_t with;
};

constexpr Reported kReported[] = {
    {Vector::DE, 0x8000'0300, 0x8000'0300},
    {Vector::DB, 0x8000'0301, 0x8000'0301},
    {Vector::NMI, 0, 0},
    {Vector::BP, 0x8000'0603, 0x8000'0603},
    {Vector::OF, 0, 0},
    {Vector::BR, 0x8000'0305, 0x8000'0305},
    {Vector::UD, 0x8000'0306, 0x8000'0306},
    {Vector::NM, 0, 0},
    {Vector::DF, 0, 0},
    {Vector::TS, 0, 0},
    {Vector::NP, 0, 0},
    {Vector::SS, 0, 0},
    {Vector::GP, 0, 0x8000'030d},
    {Vector::PF, 0, 0x8000'030e},
    {Vector::MF, 0x8000'0310, 0x8000'0310},
    {Vector::AC, 0x8000'0311, 0x8000'0311},
    {Vector::MC, 0, 0},
    {Vector::XM, 0x8000'0313, 0x8000'0313},
    {Vector::VE, 0, 0},
    {Vector::CP, 0, 0},
};

TEST(AexExitinfoTest, EachVectorIsReportedAsTheTableSays) {
  for (const bool exinfo : {false, true}) {
    for (const Reported& row : kReported) {
      SCOPED_TRACE(static_cast<int>(row.vector));
      WorldOptions options;
      options.miscselect = exinfo ? arch::miscselect::kExinfo : 0;
      World v(options);
      ASSERT_TRUE(v.eenter().has_value());
      v.gprsgx(0).exitinfo = 0xffff'ffff;
      v.exinfo(0) = {0xaaaa, 0xbbbb, 0xcccc};
      v.aex(exception(row.vector, 0x6, kBase + at::kData + 0x123));
      EXPECT_EQ(v.gprsgx(0).exitinfo, exinfo ? row.with : row.without);
      const bool written = exinfo && (row.vector == Vector::PF || row.vector == Vector::GP);
      EXPECT_EQ(v.exinfo(0).maddr, !written                   ? 0xaaaa
                                   : row.vector == Vector::PF ? kBase + at::kData + 0x123
                                                              : 0);
      EXPECT_EQ(v.exinfo(0).errcd, written ? 0x6U : 0xbbbbU);
      EXPECT_EQ(v.exinfo(0).reserved, written ? 0U : 0xccccU);
    }
  }
}

TEST(AexExitinfoTest, InterruptsClearIt) {
  World v;
  ASSERT_TRUE(v.eenter().has_value());
  v.gprsgx(0).exitinfo = 0xffff'ffff;
  v.aex();
  EXPECT_EQ(v.gprsgx(0).exitinfo, 0U);
}

TEST(AexExitinfoTest, SupervisorPageFaultIsNotReported) {
  World v;
  ASSERT_TRUE(v.eenter().has_value());
  v.aex(exception(Vector::PF, arch::pfec::kPresent | arch::pfec::kWrite, kBase + at::kData));
  EXPECT_EQ(v.gprsgx(0).exitinfo, 0U);
}

TEST_F(AexTest, Cr2OfAPageFaultIsMaskedToThePage) {
  EXPECT_EQ(w.aex(exception(Vector::PF, 0x8007, kBase + at::kData + 0xabc)),
            LinearAddress(kBase + at::kData));
  EXPECT_EQ(w.exinfo(0).maddr, kBase + at::kData + 0xabc);
  EXPECT_EQ(w.exinfo(0).errcd, 0x8007U);
}

TEST_F(AexTest, Cr2OfOtherEventsIsNotTouched) {
  EXPECT_EQ(w.aex(exception(Vector::GP, 0, 0x1234)), LinearAddress(0x1234));
}

TEST_F(AexTest, ErrorCodeOfAGeneralProtectionFaultReachesExinfo) {
  w.aex(exception(Vector::GP, 0x1f8, 0x1234));
  EXPECT_EQ(w.exinfo(0).errcd, 0x1f8U);
  EXPECT_EQ(w.exinfo(0).maddr, 0U);
}

TEST_F(AexTest, ResumeBringsEveryRegisterBack) {
  w.cpu.rflags = 0x202 | arch::rflags::kDf | arch::rflags::kZf | arch::rflags::kAc | arch::rflags::kId;
  const auto inside = w.cpu;
  w.aex();
  ASSERT_TRUE(w.eresume().has_value());
  EXPECT_EQ(w.cpu.gpr, inside.gpr);
  EXPECT_EQ(w.cpu.rip, inside.rip);
  EXPECT_EQ(w.cpu.rflags, inside.rflags);
  EXPECT_EQ(w.cpu.fs_base, inside.fs_base);
  EXPECT_EQ(w.cpu.gs_base, inside.gs_base);
  EXPECT_EQ(w.tcs().cssa, 0U);
}

TEST(AexFrameTest, WritesToTheFrameThatEntryChose) {
  for (std::uint32_t cssa = 0; cssa < 3; ++cssa) {
    World v;
    v.tcs().cssa = cssa;
    ASSERT_TRUE(v.eenter().has_value());
    v.cpu[Reg::R9] = 0x9999;
    v.aex();
    for (std::uint32_t frame = 0; frame < 3; ++frame) {
      EXPECT_EQ(v.gprsgx(frame).gpr[9], frame == cssa ? 0x9999U : 0U);
    }
    EXPECT_EQ(v.tcs().cssa, cssa + 1);
  }
}

}  // namespace
}  // namespace enclume::test
