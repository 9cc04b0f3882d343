// SPDX-License-Identifier: Apache-2.0
// EENTER: SDM Vol. 3D, "ENCLU[EENTER]".
#include <gtest/gtest.h>

#include "unit/arch_enclu/check_table.h"
#include "unit/arch_enclu/entry_checks.h"
#include "unit/arch_enclu/world.h"

namespace enclume::test {
namespace {

using arch::Reg;

TEST(EenterTest, ChecksInOrder) {
  std::vector<Check> checks = tcs_checks();
  const int rank = checks.back().rank;
  checks.push_back({"no free SSA frame", [](World& w) { w.tcs().cssa = w.tcs().nssa; }, gp(), rank});
  append(checks, ssa_checks(0, rank));
  append(checks, entry_point_checks(checks.back().rank));
  WorldOptions options;
  options.xfrm = 0x602e7;
  options.ssa_frame_size = 4;
  expect_checks(
      checks, options, [](World&) {}, [](World& w) { return execute(w, arch::EncluLeaf::Eenter); });
}

TEST(EenterTest, EntersAtTheEntryPointWithTheEnclavesSegments) {
  World w;
  w.tcs().cssa = 2;
  w.cpu.rflags = 0x202 | arch::rflags::kDf | arch::rflags::kAc | arch::rflags::kCf | arch::rflags::kRf;
  const auto before = w.cpu.gpr;
  const std::vector<std::byte> xsave(w.xsave().begin(), w.xsave().end());
  ASSERT_TRUE(w.eenter().has_value());

  EXPECT_EQ(w.cpu.rip, kBase + at::kEntry);
  EXPECT_EQ(w.cpu[Reg::Rax], 2U);
  EXPECT_EQ(w.cpu[Reg::Rcx], kEncluAt + 3);
  for (const Reg r : {Reg::Rbx, Reg::Rdx, Reg::Rsi, Reg::Rdi, Reg::Rsp, Reg::Rbp, Reg::R8, Reg::R9, Reg::R10,
                      Reg::R11, Reg::R12, Reg::R13, Reg::R14, Reg::R15}) {
    EXPECT_EQ(w.cpu[r], before[static_cast<std::size_t>(r)]) << static_cast<int>(r);
  }
  // RF goes as after every instruction; DF and AC come in from outside.
  EXPECT_EQ(w.cpu.rflags, 0x202 | arch::rflags::kDf | arch::rflags::kAc | arch::rflags::kCf);
  EXPECT_EQ(w.cpu.fs_base, kBase + at::kFsBase);
  EXPECT_EQ(w.cpu.gs_base, kBase + at::kGsBase);
  EXPECT_TRUE(std::equal(xsave.begin(), xsave.end(), w.xsave().begin())) << "vector state passes through";

  EXPECT_EQ(w.gprsgx(2).ursp, w.cpu[Reg::Rsp]);
  EXPECT_EQ(w.gprsgx(2).urbp, w.cpu[Reg::Rbp]);
  EXPECT_EQ(w.tcs().aep, kAep);
  EXPECT_EQ(w.tcs().state, arch::tcs_state::kActive);
  EXPECT_EQ(w.tcs().cssa, 2U);
}

TEST(EenterTest, TheLogicalProcessorRemembersWhereItIs) {
  World w;
  ASSERT_TRUE(w.eenter().has_value());
  EXPECT_TRUE(w.lp.enclave_mode);
  EXPECT_FALSE(w.lp.dbgoptin);
  EXPECT_EQ(w.lp.secs.address, w.page(w.secs_index).address);
  EXPECT_EQ(w.lp.tcs.address, w.page(w.tcs_index).address);
  EXPECT_EQ(w.lp.tcs_address, LinearAddress(kBase + at::kTcs));
  EXPECT_EQ(w.lp.elrange, (LinearRange{LinearAddress(kBase), LinearAddress(kBase + kSize)}));
  EXPECT_EQ(w.lp.xfrm, 3U);
  EXPECT_EQ(w.lp.host_fs_base, 0x1111'2222'3000U);
  EXPECT_EQ(w.lp.host_gs_base, 0x4444'5555'6000U);
  EXPECT_EQ(w.page(w.tcs_index).epcm->owner, kThreadId);
  EXPECT_EQ(w.page(w.tcs_index).epcm->lock, 0U);
  EXPECT_EQ(arch::tracking_inside(w.secs()), 1U);
}

TEST(EenterTest, UpperHalfOfRaxIsIgnored) {
  World w;
  w.cpu[Reg::Rax] = 0xdead'beef'0000'0002;
  ASSERT_TRUE(arch::enclu(w.fake.machine(), w.lp, w.cpu, w.fake).has_value());
  EXPECT_EQ(w.cpu[Reg::Rax], 0U);
}

TEST(EenterTest, DebugOptInNeedsNoAgreementOnAexNotify) {
  World w;
  w.tcs().flags = arch::tcs_flags::kDbgOptIn | arch::tcs_flags::kAexNotify;
  EXPECT_TRUE(w.eenter().has_value());
  EXPECT_TRUE(w.lp.dbgoptin);
}

TEST(EenterTest, AexNotifyFlagIsReservedWhereItIsNotOffered) {
  WorldOptions options;
  options.config.attributes_supported &= ~arch::attribute::kAexNotify;
  World w(options);
  w.tcs().flags = arch::tcs_flags::kDbgOptIn | arch::tcs_flags::kAexNotify;
  EXPECT_TRUE(w.eenter() == gp());
}

TEST(EenterTest, APageThatIsBeingLostOrEvictedIsAsGoodAsGone) {
  World w;
  arch::EpcmEntry& tcs = *w.page(w.tcs_index).epcm;
  tcs.lock = 1;
  EXPECT_TRUE(w.eenter() == gp()) << "another instruction uses it";
  for (const std::uint32_t going : {arch::kBeingLost, arch::kBeingEvicted}) {
    tcs.lock = going;
    const auto gone = w.eenter();
    ASSERT_FALSE(gone.has_value());
    EXPECT_EQ(gone.error().vector, arch::Vector::PF);
  }
  tcs.lock = 0;
  EXPECT_TRUE(w.eenter().has_value());
}

TEST(EenterTest, PagesBetweenXsaveAreaAndGprsgxAreNotLookedAt) {
  WorldOptions options;
  options.ssa_frame_size = 4;
  World w(options);
  w.fake.unmap(LinearAddress(kBase + w.frame_offset(0) + kPageSize));
  w.edit_epcm(w.frame_offset(0) + 2 * kPageSize, [](arch::EpcmState& s) { s.blocked = true; });
  EXPECT_TRUE(w.eenter().has_value());
}

}  // namespace
}  // namespace enclume::test
