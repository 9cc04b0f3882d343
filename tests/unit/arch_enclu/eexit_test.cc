// SPDX-License-Identifier: Apache-2.0
// EEXIT: SDM Vol. 3D, "ENCLU[EEXIT]".
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "unit/arch_enclu/check_table.h"
#include "unit/arch_enclu/entry_checks.h"
#include "unit/arch_enclu/world.h"

namespace enclume::test {
namespace {

using arch::Reg;

TEST(EexitTest, ChangesNothingButWhatItMust) {
  World w;
  ASSERT_TRUE(w.eenter().has_value());
  for (std::size_t i = 0; i < w.cpu.gpr.size(); ++i) {
    w.cpu.gpr[i] = 0xe000 + i;
  }
  w.cpu.rflags = 0x202 | arch::rflags::kDf | arch::rflags::kCf | arch::rflags::kAc | arch::rflags::kRf;
  w.cpu[Reg::Rbx] = 0x5555'0000'1234;
  w.cpu[Reg::Rax] = 0xdead'0000'0004;
  w.put<std::uint64_t>(160, 0x5ec7e7);
  w.cpu.rip = kBase + at::kCode;
  const auto inside = w.cpu;
  const std::vector<std::byte> xsave(w.xsave().begin(), w.xsave().end());
  ASSERT_TRUE(arch::enclu(w.fake.machine(), w.lp, w.cpu, w.fake).has_value());

  auto expected = inside.gpr;
  expected[static_cast<std::size_t>(Reg::Rcx)] = kAep;
  EXPECT_EQ(w.cpu.gpr, expected);
  EXPECT_EQ(w.cpu.rip, 0x5555'0000'1234U);
  EXPECT_EQ(w.cpu.rflags, inside.rflags & ~arch::rflags::kRf);
  EXPECT_TRUE(std::equal(xsave.begin(), xsave.end(), w.xsave().begin()));
  EXPECT_EQ(w.cpu.fs_base, 0x1111'2222'3000U);
  EXPECT_EQ(w.cpu.gs_base, 0x4444'5555'6000U);
}

TEST(EexitTest, FreesTheTcs) {
  World w;
  w.tcs().cssa = 1;
  ASSERT_TRUE(w.eenter().has_value());
  ASSERT_TRUE(w.eexit(kAep).has_value());
  EXPECT_EQ(w.tcs().state, arch::tcs_state::kInactive);
  EXPECT_EQ(w.tcs().cssa, 1U);
  EXPECT_EQ(w.page(w.tcs_index).epcm->owner, 0U);
  EXPECT_EQ(arch::tracking_inside(w.secs()), 0U);
  EXPECT_FALSE(w.lp.enclave_mode);
  EXPECT_TRUE(w.eenter().has_value());
}

TEST(EexitTest, TargetMustBeCanonical) {
  World w;
  ASSERT_TRUE(w.eenter().has_value());
  w.cpu[Reg::Rbx] = kNotCanonical;
  w.cpu[Reg::Rax] = 4;
  const Snapshot before(w);
  EXPECT_TRUE(arch::enclu(w.fake.machine(), w.lp, w.cpu, w.fake) == gp());
  EXPECT_TRUE(Snapshot(w) == before);
}

TEST(EexitTest, TargetMayLieInTheEnclave) {
  World w;
  ASSERT_TRUE(w.eenter().has_value());
  ASSERT_TRUE(w.eexit(kBase + at::kCode).has_value());
  EXPECT_EQ(w.cpu.rip, kBase + at::kCode);
  EXPECT_FALSE(w.lp.enclave_mode);
}

TEST(EexitTest, RcxIsTheAepOfTheLastEntry) {
  World w;
  ASSERT_TRUE(w.eenter().has_value());
  w.aex();
  w.cpu[Reg::Rcx] = 0x7000'0000'1000;
  ASSERT_TRUE(execute(w, arch::EncluLeaf::Eresume).has_value());
  ASSERT_TRUE(w.eexit(kAep).has_value());
  EXPECT_EQ(w.cpu[Reg::Rcx], 0x7000'0000'1000U);
}

}  // namespace
}  // namespace enclume::test
