// SPDX-License-Identifier: Apache-2.0
// Which leaf may run where: SDM Vol. 3D, "ENCLU".
#include <gtest/gtest.h>

#include "unit/arch_enclu/check_table.h"
#include "unit/arch_enclu/entry_checks.h"
#include "unit/arch_enclu/world.h"

namespace enclume::test {
namespace {

using arch::EncluLeaf;
using arch::Reg;

TEST(EncluTest, OutsideOnlyEntriesAreLegal) {
  for (std::uint32_t leaf = 0; leaf < 16; ++leaf) {
    if (leaf == 2 || leaf == 3) {
      continue;
    }
    World w;
    w.cpu[Reg::Rax] = leaf;
    const Snapshot before(w);
    EXPECT_TRUE(arch::enclu(w.fake.machine(), w.lp, w.cpu, w.fake) == gp()) << leaf;
    EXPECT_TRUE(Snapshot(w) == before);
  }
}

TEST(EncluTest, EntriesAreIllegalInside) {
  for (const EncluLeaf leaf : {EncluLeaf::Eenter, EncluLeaf::Eresume}) {
    World w;
    ASSERT_TRUE(w.eenter().has_value());
    w.cpu[Reg::Rbx] = kBase + at::kTcs;
    w.cpu[Reg::Rcx] = kAep;
    w.cpu[Reg::Rax] = static_cast<std::uint64_t>(leaf);
    const Snapshot before(w);
    EXPECT_TRUE(arch::enclu(w.fake.machine(), w.lp, w.cpu, w.fake) == gp());
    EXPECT_TRUE(Snapshot(w) == before);
  }
}

TEST(EncluTest, UnknownLeavesAreIllegalInside) {
  for (const std::uint64_t leaf : {8ULL, 10ULL, 0x7fffffffULL, 0xffffffffULL}) {
    World w;
    ASSERT_TRUE(w.eenter().has_value());
    w.cpu[Reg::Rax] = leaf;
    EXPECT_TRUE(arch::enclu(w.fake.machine(), w.lp, w.cpu, w.fake) == gp()) << leaf;
  }
}

TEST(EncluTest, Sgx2LeavesNeedSgx2) {
  for (const bool sgx2 : {false, true}) {
    WorldOptions options;
    options.config.sgx2 = sgx2;
    for (const EncluLeaf leaf : {EncluLeaf::Eaccept, EncluLeaf::Emodpe, EncluLeaf::Eacceptcopy}) {
      World w(options);
      ASSERT_TRUE(w.eenter().has_value());
      w.fake.unmap(LinearAddress(kBase + at::kOtherData));
      // Reaching the operands tells that the leaf exists.
      const arch::LeafResult r = w.inside(leaf, kBase + at::kOtherData, kBase + at::kData, kBase + at::kData);
      EXPECT_TRUE(r == (sgx2 ? walk_pf(kBase + at::kOtherData, 0) : gp())) << describe(r);
    }
  }
}

TEST(EncluTest, EdeccssaComesWithAexNotify) {
  for (const bool offered : {false, true}) {
    WorldOptions options;
    if (!offered) {
      options.config.attributes_supported &= ~arch::attribute::kAexNotify;
    }
    World w(options);
    w.tcs().cssa = 1;
    ASSERT_TRUE(w.eenter().has_value());
    EXPECT_EQ(w.run(EncluLeaf::Edeccssa).has_value(), offered);
  }
}

TEST(EdeccssaTest, ChecksInOrder) {
  std::vector<Check> checks = {{"no frame to pop", [](World& w) { w.tcs().cssa = 0; }, gp(), 0}};
  append(checks, ssa_checks(0, 1));
  WorldOptions options;
  options.xfrm = 0x602e7;
  options.ssa_frame_size = 4;
  const auto second_level = [](World& w) {
    ASSERT_TRUE(w.eenter().has_value());
    w.aex();
    ASSERT_TRUE(w.eenter().has_value());
    w.cpu[Reg::Rax] = 9;
  };
  expect_checks(checks, options, second_level,
                [](World& w) { return arch::enclu(w.fake.machine(), w.lp, w.cpu, w.fake); });
}

}  // namespace
}  // namespace enclume::test
