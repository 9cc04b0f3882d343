// SPDX-License-Identifier: Apache-2.0
// EREPORT: SDM Vol. 3D, "ENCLU[EREPORT]".
#include <gtest/gtest.h>

#include "unit/arch_enclu/identity_world.h"

namespace enclume::test {
namespace {

using arch::EncluLeaf;
using arch::Reg;
using arch::Report;
using arch::Targetinfo;
using Ref = ReferenceDependencies;

constexpr OperandUnderTest kTargetinfo{Reg::Rbx, at::kFsBase, 512, arch::Access::Read, 0x400};
constexpr OperandUnderTest kReportdata{Reg::Rcx, at::kData, 128, arch::Access::Read, 0x180};
constexpr OperandUnderTest kOutput{Reg::Rdx, at::kOtherData, 512, arch::Access::Write, 0xe00};

Targetinfo& targetinfo(World& w) {
  return w.object_at<Targetinfo>(kTargetinfo.offset + kTargetinfo.in_page);
}
Report& output(World& w) {
  return w.object_at<Report>(kOutput.offset + kOutput.in_page);
}

void prepared(World& w) {
  with_identity(w);
  Targetinfo& t = targetinfo(w);
  t.measurement = numbered<32>(20);
  t.attributes = {0x5, 0xe7};
  t.config_svn = 0x77;
  t.miscselect = 1;
  t.config_id = numbered<64>(21);
  w.object_at<arch::Bytes<64>>(kReportdata.offset + kReportdata.in_page) = numbered<64>(22);
  w.cpu[Reg::Rbx] = kTargetinfo.address();
  w.cpu[Reg::Rcx] = kReportdata.address();
  w.cpu[Reg::Rdx] = kOutput.address();
}

arch::LeafResult ereport(World& w) {
  return execute(w, EncluLeaf::Ereport);
}

TEST(EreportTest, ChecksInOrder) {
  std::vector<Check> checks = operand_checks(kTargetinfo, 1);
  append(checks,
         {{"CET attributes", [](World& w) { targetinfo(w).cet_attributes = 1; }, gp(), 4},
          {"reserved byte 49", [](World& w) { targetinfo(w).reserved1[0] = std::byte{1}; }, gp(), 4},
          {"reserved byte 56", [](World& w) { targetinfo(w).reserved2[0] = std::byte{1}; }, gp(), 4},
          {"reserved byte 511", [](World& w) { targetinfo(w).reserved3[383] = std::byte{1}; }, gp(), 4}});
  append(checks, operand_checks(kReportdata, 5));
  append(checks, operand_checks(kOutput, 8));
  expect_checks(checks, identity_options(), prepared, ereport);
}

TEST(EreportTest, TellsWhoTheEnclaveIs) {
  World w(identity_options());
  prepared(w);
  w.cpu.rflags = 0x202 | 0x8d5;
  ASSERT_TRUE(ereport(w).has_value());
  // By the SDM's offsets.
  const std::byte* const report = &w.object_at<std::byte>(kOutput.offset + kOutput.in_page);
  const arch::Secs& s = w.secs();
  const auto holds = [&](std::size_t offset, const auto& value) {
    return std::memcmp(report + offset, &value, sizeof(value)) == 0;
  };
  EXPECT_TRUE(holds(0, w.fake.config().cpusvn));
  EXPECT_TRUE(holds(16, s.miscselect));
  EXPECT_TRUE(holds(20, arch::Bytes<12>{}));
  EXPECT_TRUE(holds(32, s.internal.isv_ext_prod_id));
  EXPECT_TRUE(holds(48, kAllKeyAttributes));
  EXPECT_TRUE(holds(56, std::uint64_t{0xe7}));
  EXPECT_TRUE(holds(64, s.mrenclave));
  EXPECT_TRUE(holds(96, arch::Bytes<32>{}));
  EXPECT_TRUE(holds(128, s.mrsigner));
  EXPECT_TRUE(holds(160, arch::Bytes<32>{}));
  EXPECT_TRUE(holds(192, s.config_id));
  EXPECT_TRUE(holds(256, s.isv_prod_id));
  EXPECT_TRUE(holds(258, s.isv_svn));
  EXPECT_TRUE(holds(260, s.config_svn));
  EXPECT_TRUE(holds(262, arch::Bytes<42>{}));
  EXPECT_TRUE(holds(304, s.internal.isv_family_id));
  EXPECT_TRUE(holds(320, numbered<64>(22)));

  EXPECT_EQ(w.cpu[Reg::Rax], 0U);
  EXPECT_EQ(w.cpu.rflags, 0x202U | 0x8d5U) << "no flag changes";
  EXPECT_EQ(w.cpu.rip, kBase + at::kCode + 3);
}

TEST(EreportTest, OutputIs432Bytes) {
  World w(identity_options());
  prepared(w);
  std::memset(w.page_at(kOutput.offset).data, 0x77, kPageSize);
  ASSERT_TRUE(ereport(w).has_value());
  for (std::uint64_t i = 0; i < kPageSize; ++i) {
    if (i < kOutput.in_page || i >= kOutput.in_page + 432) {
      ASSERT_EQ(w.object_at<std::uint8_t>(kOutput.offset + i), 0x77) << i;
    }
  }
}

Key openssl_mac_of(const Report& report, const Key& key) {
  return openssl_cmac(key, std::as_bytes(std::span(&report, 1)).first(384));
}

TEST(EreportTest, MacEqualsTheReferenceImplementations) {
  World w(identity_options());
  prepared(w);
  ASSERT_TRUE(ereport(w).has_value());
  const Targetinfo& t = targetinfo(w);
  Ref d;
  d.put(Ref::kKeyname, std::uint16_t{3}).put(Ref::kPadding, reference_padding());
  d.put(Ref::kSealFuses, reference_root("fuses", w.fake.config().secret));
  d.put(Ref::kCpusvn, w.fake.config().cpusvn).put(Ref::kAttributes, t.attributes);
  d.put(Ref::kMiscselect, t.miscselect).put(Ref::kMrenclave, t.measurement);
  d.put(Ref::kKeyid, output(w).keyid).put(Ref::kConfigid, t.config_id).put(Ref::kConfigsvn, t.config_svn);
  EXPECT_EQ(output(w).mac, openssl_mac_of(output(w), d.derive(w.fake.config().secret)));
}

// The key that an enclave gets by EGETKEY(REPORT) with the report's KEYID.
Key report_key_of(World& target, const Report& report) {
  constexpr std::uint64_t kRequestAt = at::kGsBase;
  constexpr std::uint64_t kKeyAt = at::kGsBase + 0x800;
  arch::Keyrequest& r = target.object_at<arch::Keyrequest>(kRequestAt);
  r = {};
  r.keyname = 3;
  r.keyid = report.keyid;
  EXPECT_TRUE(target.inside(EncluLeaf::Egetkey, kBase + kRequestAt, kBase + kKeyAt) == arch::leaf_success());
  return target.object_at<Key>(kKeyAt);
}

TEST(EreportTest, TargetAndOnlyTheTargetVerifiesIt) {
  World target(identity_options());
  with_identity(target);
  World reporter(identity_options());
  prepared(reporter);
  reporter.secs().mrenclave = numbered<32>(30);
  const arch::Secs& s = target.secs();
  targetinfo(reporter) = {s.mrenclave, s.attributes, 0, {}, s.config_svn, s.miscselect, {}, s.config_id, {}};
  ASSERT_TRUE(ereport(reporter).has_value());
  const Report report = output(reporter);
  EXPECT_EQ(openssl_mac_of(report, report_key_of(target, report)), report.mac);

  Report forged = report;
  forged.isv_svn ^= 1;
  EXPECT_NE(openssl_mac_of(forged, report_key_of(target, report)), report.mac);
  EXPECT_NE(openssl_mac_of(report, report_key_of(reporter, report)), report.mac);
  target.secs().config_svn ^= 1;
  EXPECT_NE(openssl_mac_of(report, report_key_of(target, report)), report.mac);
}

TEST(EreportTest, KeyidIsTheBoots) {
  World w(identity_options());
  prepared(w);
  ASSERT_TRUE(ereport(w).has_value());
  const arch::Bytes<32> first = output(w).keyid;
  ASSERT_TRUE(ereport(w).has_value());
  EXPECT_EQ(output(w).keyid, first);
  w.fake.shared().boot_nonce[0] ^= std::byte{1};
  ASSERT_TRUE(ereport(w).has_value());
  EXPECT_NE(output(w).keyid, first);
}

}  // namespace
}  // namespace enclume::test
