// SPDX-License-Identifier: Apache-2.0
// EMODPE: SDM Vol. 3D, "ENCLU[EMODPE]".
#include <gtest/gtest.h>

#include "unit/arch_enclu/operand_checks.h"

namespace enclume::test {
namespace {

using arch::EncluLeaf;
using arch::EpcmState;
using arch::PageType;
using arch::Reg;
using arch::Secinfo;
namespace bit = arch::secinfo_flags;

constexpr OperandUnderTest kSecinfo{Reg::Rbx, at::kData, 64, arch::Access::Read, 0x80};
constexpr OperandUnderTest kTarget{Reg::Rcx, at::kPending, kPageSize, arch::Access::Read};

Secinfo& secinfo(World& w) {
  return w.object_at<Secinfo>(kSecinfo.offset + kSecinfo.in_page);
}

// A page without any permission, to be given some.
void prepared(World& w) {
  w.add(at::kPending, {.valid = true, .type = PageType::Reg});
  ASSERT_TRUE(w.eenter().has_value());
  secinfo(w) = {arch::secinfo_flags_of(PageType::Reg, bit::kR | bit::kW), {}};
  w.cpu[Reg::Rbx] = kSecinfo.address();
  w.cpu[Reg::Rcx] = kTarget.address();
  w.cpu.rip = kBase + at::kCode;
}

arch::LeafResult emodpe(World& w) {
  return execute(w, EncluLeaf::Emodpe);
}

TEST(EmodpeTest, ChecksInOrder) {
  std::vector<Check> checks = range_checks(kSecinfo, 1);
  append(checks, range_checks(kTarget, 1));
  append(checks, walk_checks(kSecinfo, 2));
  append(checks, walk_checks(kTarget, 3));
  append(checks, page_list_checks(kSecinfo, 4));
  append(checks,
         {{"SECINFO reserved flag", [](World& w) { secinfo(w).flags |= 1ULL << 7; }, gp(), 5},
          {"SECINFO reserved byte", [](World& w) { secinfo(w).reserved[0] = std::byte{1}; }, gp(), 5}});
  for (const Refusal& r : refusals_of_reg_page()) {
    if (r.name != "added for another address") {
      checks.push_back(
          {r.name, [r](World& w) { r.apply(w.epcm_at(at::kPending)); }, epcm_pf(kTarget.address()), 6});
    }
  }
  append(
      checks,
      {{"target locked", [](World& w) { w.epcm_at(at::kPending).lock = 1; }, gp(), 7},
       {"target on its way out", [](World& w) { w.epcm_at(at::kPending).lock = arch::kBeingEvicted; },
        epcm_pf(kTarget.address()), 7},
       {"added for another address", [](World& w) { w.epcm_at(at::kPending).enclave_address += kPageSize; },
        epcm_pf(kTarget.address()), 8},
       {"W without R", [](World& w) { secinfo(w).flags &= ~bit::kR; }, gp(), 9}});
  expect_checks(checks, {}, prepared, emodpe);
}

TEST(EmodpeTest, AddsPermissionsAndNeverTakesThem) {
  for (unsigned have = 0; have < 8; ++have) {
    for (unsigned asked = 0; asked < 8; ++asked) {
      World w;
      prepared(w);
      const auto with = [](unsigned rwx) {
        return EpcmState{.valid = true,
                         .r = (rwx & 1) != 0,
                         .w = (rwx & 2) != 0,
                         .x = (rwx & 4) != 0,
                         .pr = true,
                         .type = PageType::Reg};
      };
      w.epcm_at(at::kPending).store(with(have));
      secinfo(w).flags = asked;
      const bool writable_unreadable = (asked & 3) == 2 && (have & 1) == 0;
      const arch::LeafResult r = emodpe(w);
      EXPECT_EQ(r.has_value(), !writable_unreadable) << have << " " << asked;
      EXPECT_EQ(w.epcm_at(at::kPending).load(), with(writable_unreadable ? have : have | asked))
          << have << " " << asked;
    }
  }
}

TEST(EmodpeTest, TouchesNeitherRaxNorFlags) {
  World w;
  prepared(w);
  w.cpu.rflags = 0x202 | 0x8d5;
  ASSERT_TRUE(emodpe(w).has_value());
  EXPECT_EQ(w.cpu[Reg::Rax], 6U);
  EXPECT_EQ(w.cpu.rflags, 0x202U | 0x8d5U);
  EXPECT_EQ(w.cpu.rip, kBase + at::kCode + 3);
  EXPECT_EQ(w.epcm_at(at::kPending).lock, 0U);
}

}  // namespace
}  // namespace enclume::test
