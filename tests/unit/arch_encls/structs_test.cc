// SPDX-License-Identifier: Apache-2.0
// What the structures compute; their layout is asserted where they are defined.
#include <gtest/gtest.h>

#include "arch/structs/ssa.h"
#include "support/fake_machine.h"

namespace enclume::arch {
namespace {

TEST(XsaveSize, IsTheLegacyAreaForX87AndSse) {
  EXPECT_EQ(xsave_size(test::default_config(), 3), 576U);
}

TEST(XsaveSize, ReachesToTheEndOfTheFurthestComponent) {
  const MachineConfig config = test::default_config();
  EXPECT_EQ(xsave_size(config, 0x7), 832U);              // AVX at 576
  EXPECT_EQ(xsave_size(config, 0xe7), 2688U);            // AVX-512, with the hole below opmask
  EXPECT_EQ(xsave_size(config, 0x2e7), 2696U);           // PKRU at 2688
  EXPECT_EQ(xsave_size(config, 0x602e7), 2816U + 8192);  // AMX
  EXPECT_EQ(xsave_size(config, 0x203), 2696U);           // PKRU alone: the standard format keeps the gap
}

TEST(XsaveSize, DoesNotDependOnTheOrderOfComponents) {
  // AMD has PKRU at 832, below what Intel puts there.
  MachineConfig config = test::default_config();
  config.xsave[5] = {832, 64};
  config.xsave[6] = {896, 512};
  config.xsave[7] = {1408, 1024};
  config.xsave[9] = {2432, 8};
  EXPECT_EQ(xsave_size(config, 0x2e7), 2440U);
}

TEST(SsaFrameLayout, PutsExinfoRightBelowGprsgxAtTheEndOfTheFrame) {
  const SsaFrameLayout frame = ssa_frame_layout(test::default_config(), 3, miscselect::kExinfo, 2);
  EXPECT_EQ(frame.size, 8192U);
  EXPECT_EQ(frame.gpr_offset, 8192U - 184);
  EXPECT_EQ(frame.misc_offset, 8192U - 184 - 16);
  EXPECT_EQ(frame.gpr_page_off, 4096U);
  EXPECT_EQ(frame.xsave_pages, 1U);
}

TEST(SsaFrameLayout, FitsExactlyWhenNothingIsLeftOver) {
  MachineConfig config = test::default_config();
  config.xsave[2] = {576, 4096 - 576 - 184 - 16};
  EXPECT_TRUE(ssa_frame_layout(config, 7, miscselect::kExinfo, 1).fits(miscselect::kExinfo));
  config.xsave[2].size += 1;
  EXPECT_FALSE(ssa_frame_layout(config, 7, miscselect::kExinfo, 1).fits(miscselect::kExinfo));
  EXPECT_TRUE(ssa_frame_layout(config, 7, 0, 1).fits(0));
}

TEST(SsaFrameLayout, NeverFitsInNoPages) {
  EXPECT_FALSE(ssa_frame_layout(test::default_config(), 3, 0, 0).fits(0));
}

TEST(Exitinfo, HasVectorTypeAndValidInTheirPlaces) {
  EXPECT_EQ(exitinfo::make(Vector::UD, exitinfo::Type::Hardware), 0x80000306U);
  EXPECT_EQ(exitinfo::make(Vector::BP, exitinfo::Type::Software), 0x80000603U);
  EXPECT_EQ(exitinfo::vector(0x80000603), 3);
  EXPECT_EQ(exitinfo::type(0x80000603), 6);
  EXPECT_FALSE(exitinfo::valid(0x603));
}

}  // namespace
}  // namespace enclume::arch
