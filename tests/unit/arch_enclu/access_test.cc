// SPDX-License-Identifier: Apache-2.0
// What enclave code may access: SDM Vol. 3D, chapter "Enclave Access Control and Data Structures".
#include <gtest/gtest.h>

#include "unit/arch_enclu/entry_checks.h"
#include "unit/arch_enclu/world.h"

namespace enclume::test {
namespace {

using arch::Access;
using arch::EpcmState;

constexpr std::uint32_t kErrorCode[] = {0x8005, 0x8007, 0x8015};  // read, write, execute

class AccessTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(w.eenter().has_value()); }
  std::expected<void, arch::Fault> access(std::uint64_t offset, Access a) {
    return arch::check_enclave_access(w.lp, w.page_at(offset), LinearAddress(kBase + offset), a);
  }
  World w;
};

constexpr Access kAccesses[] = {Access::Read, Access::Write, Access::Execute};

TEST_F(AccessTest, PermissionsDecide) {
  for (unsigned rwx = 0; rwx < 8; ++rwx) {
    w.edit_epcm(at::kData, [rwx](EpcmState& s) {
      s.r = (rwx & 1) != 0;
      s.w = (rwx & 2) != 0;
      s.x = (rwx & 4) != 0;
    });
    for (unsigned a = 0; a < 3; ++a) {
      const auto r = access(at::kData + 0x123, kAccesses[a]);
      ASSERT_EQ(r.has_value(), (rwx >> a & 1) != 0) << rwx << " " << a;
      if (!r.has_value()) {
        EXPECT_EQ(r.error(),
                  (arch::Fault{arch::Vector::PF, kErrorCode[a], LinearAddress(kBase + at::kData + 0x123)}));
      }
    }
  }
}

TEST_F(AccessTest, NoStateButNormalIsAccessible) {
  for (const Refusal& refusal : refusals_of_reg_page()) {
    SCOPED_TRACE(refusal.name);
    World v;
    ASSERT_TRUE(v.eenter().has_value());
    v.edit_epcm(at::kData, [](EpcmState& s) { s.x = true; });
    const arch::EpcPage page = v.page_at(at::kData);
    refusal.apply(*page.epcm);
    for (unsigned a = 0; a < 3; ++a) {
      const auto r = arch::check_enclave_access(v.lp, page, LinearAddress(kBase + at::kData), kAccesses[a]);
      ASSERT_FALSE(r.has_value());
      EXPECT_EQ(r.error(), (arch::Fault{arch::Vector::PF, kErrorCode[a], LinearAddress(kBase + at::kData)}));
    }
  }
}

TEST_F(AccessTest, PermissionRestrictionAloneChangesNothing) {
  w.edit_epcm(at::kData, [](EpcmState& s) { s.pr = true; });
  EXPECT_TRUE(access(at::kData, Access::Read).has_value());
  EXPECT_TRUE(access(at::kData, Access::Write).has_value());
}

TEST_F(AccessTest, OrdinaryMemoryInElrangeIsNotAccessible) {
  for (unsigned a = 0; a < 3; ++a) {
    const auto r = arch::check_enclave_access(w.lp, {}, LinearAddress(kBase + at::kEmpty), kAccesses[a]);
    ASSERT_FALSE(r.has_value());
    EXPECT_EQ(r.error().error_code, kErrorCode[a]);
  }
}

TEST_F(AccessTest, OutsideElrangeDataIsFreeAndCodeIsNot) {
  for (const std::uint64_t address : {kBase - 1, kBase + kSize, std::uint64_t{0x400000}}) {
    EXPECT_TRUE(arch::check_enclave_access(w.lp, {}, LinearAddress(address), Access::Read).has_value());
    EXPECT_TRUE(arch::check_enclave_access(w.lp, {}, LinearAddress(address), Access::Write).has_value());
    const auto fetch = arch::check_enclave_access(w.lp, {}, LinearAddress(address), Access::Execute);
    ASSERT_FALSE(fetch.has_value());
    EXPECT_EQ(fetch.error(), arch::general_protection());
  }
}

TEST_F(AccessTest, EdgesOfElrangeBelongToIt) {
  for (const std::uint64_t address : {kBase, kBase + kSize - 1}) {
    EXPECT_FALSE(arch::check_enclave_access(w.lp, {}, LinearAddress(address), Access::Read).has_value());
  }
}

}  // namespace
}  // namespace enclume::test
