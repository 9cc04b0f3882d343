// SPDX-License-Identifier: Apache-2.0
// EACCEPTCOPY: SDM Vol. 3D, "ENCLU[EACCEPTCOPY]".
#include <gtest/gtest.h>

#include <cstring>

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

constexpr OperandUnderTest kSecinfo{Reg::Rbx, at::kData, 64, arch::Access::Read, 0xfc0};
constexpr OperandUnderTest kTo{Reg::Rcx, at::kPending, kPageSize, arch::Access::Write};
constexpr OperandUnderTest kFrom{Reg::Rdx, at::kOtherData, kPageSize, arch::Access::Read};

Secinfo& secinfo(World& w) {
  return w.object_at<Secinfo>(kSecinfo.offset + kSecinfo.in_page);
}

void prepared(World& w) {
  w.add(at::kPending, {.valid = true, .r = true, .w = true, .pending = true, .type = PageType::Reg});
  for (std::uint64_t i = 0; i < kPageSize; ++i) {
    w.object_at<std::uint8_t>(at::kOtherData + i) = static_cast<std::uint8_t>(i * 7 + i / 256);
  }
  ASSERT_TRUE(w.eenter().has_value());
  secinfo(w) = {arch::secinfo_flags_of(PageType::Reg, bit::kR | bit::kX), {}};
  w.cpu[Reg::Rbx] = kSecinfo.address();
  w.cpu[Reg::Rcx] = kTo.address();
  w.cpu[Reg::Rdx] = kFrom.address();
  w.cpu.rip = kBase + at::kCode;
}

arch::LeafResult eacceptcopy(World& w) {
  return execute(w, EncluLeaf::Eacceptcopy);
}

TEST(EacceptcopyTest, ChecksInOrder) {
  using S = EpcmState;
  const arch::LeafResult mismatch = code(LeafCode::PageAttributesMismatch);
  std::vector<Check> checks;
  for (const OperandUnderTest& o : {kSecinfo, kTo, kFrom}) {
    append(checks, range_checks(o, 1));
  }
  append(checks, walk_checks(kSecinfo, 2));
  append(checks, walk_checks(kTo, 3));
  append(checks, walk_checks(kFrom, 4));
  append(checks, page_list_checks(kSecinfo, 5));
  append(checks,
         {{"SECINFO reserved flag", [](World& w) { secinfo(w).flags |= 1ULL << 6; }, gp(), 6},
          {"SECINFO reserved byte", [](World& w) { secinfo(w).reserved[7] = std::byte{1}; }, gp(), 6},
          {"W without R", [](World& w) { secinfo(w).flags = arch::secinfo_flags_of(PageType::Reg, bit::kW); },
           gp(), 6},
          {"SECINFO of another type",
           [](World& w) { secinfo(w).flags = arch::secinfo_flags_of(PageType::Tcs, bit::kR); }, gp(), 6}});
  append(checks, page_list_checks(kFrom, 7));
  const auto target = [&](std::string_view name, auto edit, int rank) {
    checks.push_back({name, [edit](World& w) { w.edit_epcm(at::kPending, edit); }, mismatch, rank});
  };
  target(
      "target not valid", [](S& s) { s.valid = false; }, 8);
  target(
      "target blocked", [](S& s) { s.blocked = true; }, 8);
  target(
      "target not pending", [](S& s) { s.pending = false; }, 8);
  target(
      "target modified", [](S& s) { s.modified = true; }, 8);
  target(
      "target a TCS", [](S& s) { s.type = PageType::Tcs; }, 8);
  checks.push_back({"target of another enclave",
                    [](World& w) { w.epcm_at(at::kPending).enclave_secs += kPageSize; }, mismatch, 8});
  checks.push_back({"target locked", [](World& w) { w.epcm_at(at::kPending).lock = 1; }, gp(), 9});
  checks.push_back({"target on its way out",
                    [](World& w) { w.epcm_at(at::kPending).lock = arch::kBeingEvicted; },
                    epcm_pf(kTo.address(), true), 9});
  target(
      "target not readable", [](S& s) { s.r = false; }, 10);
  target(
      "target not writable", [](S& s) { s.w = false; }, 10);
  target(
      "target executable", [](S& s) { s.x = true; }, 10);
  checks.push_back({"target added for another address",
                    [](World& w) { w.epcm_at(at::kPending).enclave_address += kPageSize; }, mismatch, 10});
  expect_checks(checks, {}, prepared, eacceptcopy);
}

TEST(EacceptcopyTest, CopiesAndReplacesThePermissions) {
  World w;
  prepared(w);
  w.cpu.rflags = 0x202 | 0x8d5;
  ASSERT_TRUE(eacceptcopy(w) == arch::leaf_success());
  EXPECT_EQ(std::memcmp(w.page_at(at::kPending).data, w.page_at(at::kOtherData).data, kPageSize), 0);
  EXPECT_EQ(w.epcm_at(at::kPending).load(),
            (EpcmState{.valid = true, .r = true, .x = true, .type = PageType::Reg}));
  EXPECT_EQ(w.epcm_at(at::kPending).lock, 0U);
  EXPECT_EQ(w.cpu[Reg::Rax], 0U);
  EXPECT_EQ(w.cpu.rflags, 0x202U);
  EXPECT_EQ(w.cpu.rip, kBase + at::kCode + 3);
}

TEST(EacceptcopyTest, FailureCopiesNothing) {
  World w;
  prepared(w);
  w.edit_epcm(at::kPending, [](EpcmState& s) { s.x = true; });
  ASSERT_TRUE(eacceptcopy(w) == code(LeafCode::PageAttributesMismatch));
  EXPECT_EQ(w.object_at<std::uint64_t>(at::kPending + 8), 0U);
  EXPECT_TRUE(w.epcm_at(at::kPending).load().pending);
  EXPECT_EQ(w.cpu[Reg::Rax], 19U);
  EXPECT_NE(w.cpu.rflags & arch::rflags::kZf, 0U);
}

TEST(EacceptcopyTest, PageCannotBeCopiedOntoItself) {
  World w;
  prepared(w);
  w.cpu[Reg::Rdx] = kTo.address();
  EXPECT_TRUE(eacceptcopy(w) == epcm_pf(kTo.address()))
      << "as a source it must be accessible, and it is pending";
}

}  // namespace
}  // namespace enclume::test
