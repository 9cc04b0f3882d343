// SPDX-License-Identifier: Apache-2.0
// EACCEPT: SDM Vol. 3D, "ENCLU[EACCEPT]".
#include <gtest/gtest.h>

#include "unit/arch_enclu/operand_checks.h"

namespace enclume::test {
namespace {

using arch::EncluLeaf;
using arch::EpcmState;
using arch::LeafCode;
using arch::PageType;
using arch::Reg;
using arch::Secinfo;
namespace bit = arch::secinfo_flags;

constexpr OperandUnderTest kSecinfo{Reg::Rbx, at::kData, 64, arch::Access::Read, 0x40};
constexpr OperandUnderTest kTarget{Reg::Rcx, at::kPending, kPageSize, arch::Access::Read};

Secinfo& secinfo(World& w) {
  return w.object_at<Secinfo>(kSecinfo.offset + kSecinfo.in_page);
}

void aim(World& w) {
  w.cpu[Reg::Rbx] = kSecinfo.address();
  w.cpu[Reg::Rcx] = kTarget.address();
  w.cpu.rip = kBase + at::kCode;
}

// A page as EAUG makes it, and the enclave about to accept it.
void augmented(World& w) {
  w.add(at::kPending, {.valid = true, .r = true, .w = true, .pending = true, .type = PageType::Reg});
  ASSERT_TRUE(w.eenter().has_value());
  secinfo(w) = {arch::secinfo_flags_of(PageType::Reg, bit::kR | bit::kW | bit::kPending), {}};
  aim(w);
}

// A page whose type EMODT changed, with ETRACK done since.
void retyped(World& w, PageType to) {
  w.add(at::kPending, {.valid = true, .modified = true, .type = to});
  arch::tracking_mark(w.secs(), w.epcm_at(at::kPending));
  ASSERT_TRUE(arch::tracking_advance(w.secs()));
  ASSERT_TRUE(w.eenter().has_value());
  secinfo(w) = {arch::secinfo_flags_of(to, bit::kModified), {}};
  aim(w);
}

arch::LeafResult eaccept(World& w) {
  return execute(w, EncluLeaf::Eaccept);
}

std::vector<Check> secinfo_and_target_checks() {
  std::vector<Check> checks = operand_checks(kSecinfo, 1);
  append(checks,
         {{"SECINFO reserved flag", [](World& w) { secinfo(w).flags |= 1ULL << 6; }, gp(), 4},
          {"SECINFO high flag", [](World& w) { secinfo(w).flags |= 1ULL << 16; }, gp(), 4},
          {"SECINFO reserved byte", [](World& w) { secinfo(w).reserved[55] = std::byte{1}; }, gp(), 4}});
  append(checks, range_checks(kTarget, 5));
  append(checks, walk_checks(kTarget, 6));
  append(checks, {{"request of neither kind",
                   [](World& w) { secinfo(w).flags &= ~(bit::kPending | bit::kModified); }, gp(), 7}});
  using S = EpcmState;
  append(
      checks,
      {{"target not valid", [](World& w) { w.edit_epcm(at::kPending, [](S& s) { s.valid = false; }); },
        epcm_pf(kTarget.address()), 8},
       {"target blocked", [](World& w) { w.edit_epcm(at::kPending, [](S& s) { s.blocked = true; }); },
        epcm_pf(kTarget.address()), 8},
       {"target a SECS", [](World& w) { w.edit_epcm(at::kPending, [](S& s) { s.type = PageType::Secs; }); },
        epcm_pf(kTarget.address()), 8},
       {"target a version array",
        [](World& w) { w.edit_epcm(at::kPending, [](S& s) { s.type = PageType::Va; }); },
        epcm_pf(kTarget.address()), 8},
       {"target of another enclave", [](World& w) { w.epcm_at(at::kPending).enclave_secs += kPageSize; },
        epcm_pf(kTarget.address()), 8},
       {"target locked", [](World& w) { w.epcm_at(at::kPending).lock = 1; }, gp(), 9},
       {"target on its way out", [](World& w) { w.epcm_at(at::kPending).lock = arch::kBeingEvicted; },
        epcm_pf(kTarget.address()), 9}});
  return checks;
}

TEST(EacceptTest, ChecksOfAnAugmentedPageInOrder) {
  std::vector<Check> checks = secinfo_and_target_checks();
  using S = EpcmState;
  const auto mismatch = [&](std::string_view name, auto edit) {
    checks.push_back({name, [edit](World& w) { w.edit_epcm(at::kPending, edit); },
                      code(LeafCode::PageAttributesMismatch), 10});
  };
  mismatch("PENDING differs", [](S& s) { s.pending = false; });
  mismatch("MODIFIED differs", [](S& s) { s.modified = true; });
  mismatch("R differs", [](S& s) { s.r = false; });
  mismatch("W differs", [](S& s) { s.w = false; });
  mismatch("X differs", [](S& s) { s.x = true; });
  mismatch("type differs", [](S& s) { s.type = PageType::Trim; });
  checks.push_back({"added for another address",
                    [](World& w) { w.epcm_at(at::kPending).enclave_address += kPageSize; },
                    code(LeafCode::PageAttributesMismatch), 10});
  expect_checks(checks, {}, augmented, eaccept);
}

TEST(EacceptTest, ChecksOfANewTcsInOrder) {
  std::vector<Check> checks = secinfo_and_target_checks();
  checks.push_back({"not tracked", [](World& w) { arch::tracking_mark(w.secs(), w.epcm_at(at::kPending)); },
                    code(LeafCode::NotTracked), 11});
  const auto contents = [&](std::string_view name, auto edit) {
    checks.push_back({name, [edit](World& w) { edit(w.object_at<arch::Tcs>(at::kPending)); }, gp(), 12});
  };
  contents("reserved byte", [](arch::Tcs& t) { t.reserved[4023] = std::byte{1}; });
  contents("debug opt-in", [](arch::Tcs& t) { t.flags |= arch::tcs_flags::kDbgOptIn; });
  contents("reserved flag", [](arch::Tcs& t) { t.flags |= 4; });
  contents("CSSA = NSSA", [](arch::Tcs& t) { t.cssa = t.nssa; });
  contents("AEP", [](arch::Tcs& t) { t.aep = 1; });
  contents("active", [](arch::Tcs& t) { t.state = arch::tcs_state::kActive; });
  const auto new_tcs = [](World& w) {
    retyped(w, PageType::Tcs);
    w.object_at<arch::Tcs>(at::kPending).nssa = 2;
    w.object_at<arch::Tcs>(at::kPending).flags = arch::tcs_flags::kAexNotify;
  };
  expect_checks(checks, {}, new_tcs, eaccept);
}

TEST(EacceptTest, AexNotifyOfANewTcsIsReservedWhereNotOffered) {
  WorldOptions options;
  options.config.attributes_supported &= ~arch::attribute::kAexNotify;
  World w(options);
  retyped(w, PageType::Tcs);
  w.object_at<arch::Tcs>(at::kPending).nssa = 2;
  w.object_at<arch::Tcs>(at::kPending).flags = arch::tcs_flags::kAexNotify;
  EXPECT_TRUE(eaccept(w) == gp());
}

// Which combinations of type, PENDING, MODIFIED and PR a request may have at all.
TEST(EacceptTest, LegalRequests) {
  for (unsigned type = 0; type < 8; ++type) {
    for (unsigned state = 0; state < 8; ++state) {
      const bool pending = (state & 1) != 0;
      const bool modified = (state & 2) != 0;
      const bool pr = (state & 4) != 0;
      const bool legal = (type == 2 && (pending || pr) && !modified) ||
                         ((type == 1 || type == 4) && modified && !pending && !pr);
      World w;
      augmented(w);
      secinfo(w).flags = static_cast<std::uint64_t>(type) << 8 | static_cast<std::uint64_t>(state) << 3;
      w.epcm_at(at::kPending).enclave_address += kPageSize;  // so that a legal one ends with a code
      EXPECT_TRUE(eaccept(w) == (legal ? code(LeafCode::PageAttributesMismatch) : gp()))
          << "type " << type << " state " << state;
    }
  }
}

TEST(EacceptTest, AcceptsAnAugmentedPage) {
  World w;
  augmented(w);
  w.cpu.rflags = 0x202 | 0x8d5 | arch::rflags::kDf | arch::rflags::kRf;
  ASSERT_TRUE(eaccept(w) == arch::leaf_success());
  EXPECT_EQ(w.epcm_at(at::kPending).load(),
            (EpcmState{.valid = true, .r = true, .w = true, .type = PageType::Reg}));
  EXPECT_EQ(w.epcm_at(at::kPending).lock, 0U);
  EXPECT_EQ(w.cpu[Reg::Rax], 0U);
  EXPECT_EQ(w.cpu.rflags, 0x202 | arch::rflags::kDf) << "arithmetic flags clear, RF gone, DF stays";
  EXPECT_EQ(w.cpu.rip, kBase + at::kCode + 3);
}

TEST(EacceptTest, ReportsInRaxAndZf) {
  World w;
  augmented(w);
  secinfo(w).flags |= bit::kX;
  w.cpu.rflags = 0x202 | arch::rflags::kCf | arch::rflags::kOf;
  ASSERT_TRUE(eaccept(w) == code(LeafCode::PageAttributesMismatch));
  EXPECT_EQ(w.cpu[Reg::Rax], 19U);
  EXPECT_EQ(w.cpu.rflags, 0x202 | arch::rflags::kZf);
  EXPECT_EQ(w.cpu.rip, kBase + at::kCode + 3);
  EXPECT_TRUE(w.epcm_at(at::kPending).load().pending);
  EXPECT_EQ(w.epcm_at(at::kPending).lock, 0U);
}

TEST(EacceptTest, AcceptsRestrictedPermissionsOnceTracked) {
  World w;
  w.add(at::kPending, {.valid = true, .r = true, .pr = true, .type = PageType::Reg});
  ASSERT_TRUE(w.eenter().has_value());
  secinfo(w) = {arch::secinfo_flags_of(PageType::Reg, bit::kR | bit::kPr), {}};
  arch::tracking_mark(w.secs(), w.epcm_at(at::kPending));
  aim(w);
  EXPECT_TRUE(eaccept(w) == code(LeafCode::NotTracked)) << "no ETRACK yet";
  ASSERT_TRUE(arch::tracking_advance(w.secs()));
  aim(w);
  EXPECT_TRUE(eaccept(w) == code(LeafCode::NotTracked)) << "this thread itself entered before";
  ASSERT_TRUE(w.eexit(kAep).has_value());
  ASSERT_TRUE(w.eenter().has_value());
  aim(w);
  EXPECT_TRUE(eaccept(w) == arch::leaf_success());
  EXPECT_FALSE(w.epcm_at(at::kPending).load().pr);
}

TEST(EacceptTest, PrIsNotCompared) {
  World w;
  augmented(w);
  secinfo(w).flags |= bit::kPr;
  EXPECT_TRUE(eaccept(w) == arch::leaf_success());
}

TEST(EacceptTest, AcceptsTrimmedPagesAndTcs) {
  for (const PageType type : {PageType::Trim, PageType::Tcs}) {
    World w;
    retyped(w, type);
    w.object_at<arch::Tcs>(at::kPending).nssa = 1;
    ASSERT_TRUE(eaccept(w) == arch::leaf_success());
    EXPECT_EQ(w.epcm_at(at::kPending).load(), (EpcmState{.valid = true, .type = type}));
  }
}

TEST(EacceptTest, ThreadEntersByAnAcceptedTcs) {
  World w;
  retyped(w, PageType::Tcs);
  arch::Tcs& t = w.object_at<arch::Tcs>(at::kPending);
  t = w.tcs();
  t.state = arch::tcs_state::kInactive;
  t.aep = 0;
  const auto enter_by_it = [](World& v) {
    v.cpu[Reg::Rbx] = kTarget.address();
    v.cpu[Reg::Rcx] = kAep;
    return execute(v, EncluLeaf::Eenter);
  };
  ASSERT_TRUE(w.eexit(kAep).has_value());
  EXPECT_TRUE(enter_by_it(w) == epcm_pf(kTarget.address())) << "not before it is accepted";
  ASSERT_TRUE(w.eenter().has_value());
  aim(w);
  ASSERT_TRUE(eaccept(w) == arch::leaf_success());
  ASSERT_TRUE(w.eexit(kAep).has_value());
  EXPECT_TRUE(enter_by_it(w).has_value());
}

}  // namespace
}  // namespace enclume::test
