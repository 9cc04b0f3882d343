// SPDX-License-Identifier: Apache-2.0
//
// Identity: what EINIT insists on, what reports say and how they are verified, and what keys depend on. The
// test's side of the cryptography is OpenSSL's.
#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "conformance/support.h"

namespace enclume::test {
namespace {

using Key = std::array<std::uint8_t, 16>;

constexpr std::uint64_t kZf = 0x40;

// ---- EINIT ----

struct BadSigstruct {
  const char* name;
  void (*before_signing)(Sigstruct&);
  void (*after_signing)(Sigstruct&);
};
void nothing(Sigstruct&) {}

class EinitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(create_enclave(fd_.get(), image_.secs(range_.base())), 0);
    ASSERT_EQ(add_image(fd_.get(), image_), 0);
  }
  const EnclaveImage image_ = probe_image({});
  const Fd fd_ = open_sgx_enclave();
  const Reservation range_ = Reservation::aligned(image_.size());
};

class BadSigstructTest : public EinitTest, public ::testing::WithParamInterface<BadSigstruct> {};

TEST_P(BadSigstructTest, IsEpermAndAGoodOneStillInitialises) {
  Sigstruct sigstruct = unsigned_sigstruct(image_);
  GetParam().before_signing(sigstruct);
  SigningKey::shared().sign(sigstruct);
  GetParam().after_signing(sigstruct);
  EXPECT_EQ(init_enclave(fd_.get(), sigstruct), EPERM);
  EXPECT_EQ(init_enclave(fd_.get(), signed_sigstruct(image_)), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Einit, BadSigstructTest,
    ::testing::Values(
        BadSigstruct{"Header", [](Sigstruct& s) { s.header[0] ^= 1; }, nothing},
        BadSigstruct{"Header2", [](Sigstruct& s) { s.header2[15] ^= 1; }, nothing},
        BadSigstruct{"Reserved1", [](Sigstruct& s) { s.reserved1[0] = 1; }, nothing},
        BadSigstruct{"Reserved2", [](Sigstruct& s) { s.reserved2[3] = 1; }, nothing},
        BadSigstruct{"Reserved3", [](Sigstruct& s) { s.reserved3[0] = 1; }, nothing},
        BadSigstruct{"Reserved4", [](Sigstruct& s) { s.reserved4[11] = 1; }, nothing},
        BadSigstruct{"FamilyIdWithoutKss", [](Sigstruct& s) { s.isv_family_id[0] = 1; }, nothing},
        BadSigstruct{"ExtProdIdWithoutKss", [](Sigstruct& s) { s.isv_ext_prod_id[0] = 1; }, nothing},
        BadSigstruct{"Exponent", nothing, [](Sigstruct& s) { s.exponent = 65537; }},
        BadSigstruct{"Modulus", nothing, [](Sigstruct& s) { s.modulus[100] ^= 1; }},
        BadSigstruct{"Signature", nothing, [](Sigstruct& s) { s.signature[0] ^= 1; }},
        BadSigstruct{"SignatureZero", nothing, [](Sigstruct& s) { s.signature = {}; }},
        BadSigstruct{"Q1", nothing, [](Sigstruct& s) { s.q1[5] ^= 1; }},
        BadSigstruct{"Q2", nothing, [](Sigstruct& s) { s.q2[5] ^= 1; }},
        BadSigstruct{"SignedDate", nothing, [](Sigstruct& s) { s.date ^= 1; }},
        BadSigstruct{"SignedProdId", nothing, [](Sigstruct& s) { s.isv_prod_id ^= 1; }},
        BadSigstruct{"EnclaveHash", [](Sigstruct& s) { s.enclave_hash[31] ^= 0x80; }, nothing},
        BadSigstruct{"AttributeMissing",
                     [](Sigstruct& s) { s.attributes |= kAttributeDebug, s.attributes_mask = ~1ull; },
                     nothing},
        BadSigstruct{"AttributeExtra", [](Sigstruct& s) { s.attributes = 0; }, nothing},
        BadSigstruct{"Miscselect", [](Sigstruct& s) { s.miscselect ^= kMiscselectExinfo; }, nothing},
        BadSigstruct{"Xfrm", [](Sigstruct& s) { s.xfrm = 1; }, nothing}),
    [](const ::testing::TestParamInfo<BadSigstruct>& tested) { return tested.param.name; });

TEST_F(EinitTest, MaskedOutAttributesDoNotMatter) {
  Sigstruct sigstruct = unsigned_sigstruct(image_);
  sigstruct.attributes = kAttributeMode64 | kAttributeDebug;
  sigstruct.attributes_mask = ~(kAttributeDebug | kAttributeInit);
  SigningKey::shared().sign(sigstruct);
  EXPECT_EQ(init_enclave(fd_.get(), sigstruct), 0);
}

TEST_F(EinitTest, AnySignerMaySign) {
  Sigstruct sigstruct = unsigned_sigstruct(image_);
  SigningKey::generate().sign(sigstruct);
  EXPECT_EQ(init_enclave(fd_.get(), sigstruct), 0);
}

TEST_F(EinitTest, MeasurementCoversEveryMeasuredByte) {
  EnclaveImage other = image_;
  other.page(PROBE_SCRATCH).bytes[4095] ^= 1;
  EXPECT_EQ(init_enclave(fd_.get(), signed_sigstruct(other)), EPERM);
}

// ---- Reports and keys, asked for inside an enclave ----

class IdentityTest : public ::testing::Test {
 protected:
  struct EgetkeyResult {
    std::uint64_t rax;
    std::uint64_t rflags;
    Key key;
  };
  // Scratch: 0 the first operand, 0x200 the second, 0x400 the output.
  static EgetkeyResult egetkey(const ProbeEnclave& probe, const Keyrequest& request) {
    const Key filler = {0xee, 0xee, 0xee, 0xee};
    probe.copy(probe.scratch(), address_of(&request), sizeof request);
    probe.copy(probe.scratch() + 0x400, address_of(&filler), sizeof filler);
    const auto [rax, rflags] = probe.enclu(Leaf::kEgetkey, probe.scratch(), probe.scratch() + 0x400);
    EgetkeyResult result{.rax = rax, .rflags = rflags, .key = {}};
    probe.copy(address_of(&result.key), probe.scratch() + 0x400, sizeof result.key);
    return result;
  }
  static Report ereport(const ProbeEnclave& probe, const Targetinfo& target,
                        const std::array<std::uint8_t, 64>& data = {}) {
    probe.copy(probe.scratch(), address_of(&target), sizeof target);
    probe.copy(probe.scratch() + 0x200, address_of(&data), sizeof data);
    probe.enclu(Leaf::kEreport, probe.scratch(), probe.scratch() + 0x200, probe.scratch() + 0x400);
    Report report;
    probe.copy(address_of(&report), probe.scratch() + 0x400, sizeof report);
    return report;
  }
  static Targetinfo target_of(const Report& report) {
    Targetinfo target{};
    target.measurement = report.mrenclave;
    target.attributes = report.attributes;
    target.xfrm = report.xfrm;
    target.miscselect = report.miscselect;
    return target;
  }
  static Keyrequest report_key_request(const Report& report) {
    Keyrequest request{};
    request.key_name = KeyName::kReport;
    request.key_id = report.key_id;
    return request;
  }
  static Keyrequest seal_request(const ProbeEnclave& probe, std::uint16_t policy) {
    const Report self = ereport(probe, {});
    Keyrequest request{};
    request.key_name = KeyName::kSeal;
    request.key_policy = policy;
    request.isv_svn = self.isv_svn;
    request.cpu_svn = self.cpu_svn;
    request.attributes_mask = ~std::uint64_t{0};
    request.xfrm_mask = ~std::uint64_t{0};
    request.misc_mask = ~0u;
    return request;
  }
  static Key seal_key(const ProbeEnclave& probe, const Keyrequest& request) {
    const EgetkeyResult result = egetkey(probe, request);
    EXPECT_EQ(result.rax, 0u);
    return result.key;
  }
  static Key cmac(const Key& key, std::span<const std::uint8_t> bytes) {
    const std::unique_ptr<EVP_MAC, decltype(&EVP_MAC_free)> mac(EVP_MAC_fetch(nullptr, "CMAC", nullptr),
                                                                EVP_MAC_free);
    const std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)> context(EVP_MAC_CTX_new(mac.get()),
                                                                            EVP_MAC_CTX_free);
    char cipher[] = "AES-128-CBC";
    const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher, 0),
                                     OSSL_PARAM_construct_end()};
    Key result{};
    std::size_t size = 0;
    EXPECT_EQ(EVP_MAC_init(context.get(), key.data(), key.size(), parameters), 1);
    EXPECT_EQ(EVP_MAC_update(context.get(), bytes.data(), bytes.size()), 1);
    EXPECT_EQ(EVP_MAC_final(context.get(), result.data(), &size, result.size()), 1);
    return result;
  }
  static LoadOptions with_sigstruct(const std::function<void(Sigstruct&)>& adjust) {
    LoadOptions load;
    load.adjust_sigstruct = adjust;
    return load;
  }
  static ProbeOptions other_code() {
    ProbeOptions options;
    options.heap_pages = 1;  // One page more: another measurement.
    return options;
  }

  const ProbeEnclave probe_;
};

using ReportTest = IdentityTest;

TEST_F(ReportTest, NamesMeasurementSignerAndVersions) {
  const Report report = ereport(probe_, {});
  EXPECT_EQ(report.mrenclave, probe_.image().mrenclave());
  EXPECT_EQ(report.mrsigner, SigningKey::shared().mrsigner());
  EXPECT_EQ(report.isv_prod_id, 7);
  EXPECT_EQ(report.isv_svn, 5);
  EXPECT_EQ(report.attributes, kAttributeMode64 | kAttributeInit);
  EXPECT_EQ(report.xfrm, 3u);
  EXPECT_EQ(report.miscselect, 0u);
}

TEST_F(ReportTest, CarriesTheReportData) {
  std::array<std::uint8_t, 64> data;
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::uint8_t>(200 - i);
  EXPECT_EQ(ereport(probe_, {}, data).report_data, data);
}

TEST_F(ReportTest, ReservedFieldsAreZero) {
  const Report report = ereport(probe_, {});
  EXPECT_EQ(report.reserved1, decltype(report.reserved1){});
  EXPECT_EQ(report.reserved2, decltype(report.reserved2){});
  EXPECT_EQ(report.reserved3, decltype(report.reserved3){});
  EXPECT_EQ(report.reserved4, decltype(report.reserved4){});
  EXPECT_EQ(report.config_id, decltype(report.config_id){});
}

TEST_F(ReportTest, TargetVerifiesTheMacWithItsReportKey) {
  const ProbeEnclave target(other_code());
  const Report self = ereport(target, {});
  const Report report = ereport(probe_, target_of(self), {1, 2, 3});
  const EgetkeyResult key = egetkey(target, report_key_request(report));
  ASSERT_EQ(key.rax, 0u);
  EXPECT_EQ(cmac(key.key, bytes_of(report).first(384)), report.mac);
}

TEST_F(ReportTest, AnotherEnclaveThanTheTargetCannotVerify) {
  const ProbeEnclave target(other_code());
  const Report report = ereport(probe_, target_of(ereport(target, {})));
  const EgetkeyResult key = egetkey(probe_, report_key_request(report));
  ASSERT_EQ(key.rax, 0u);
  EXPECT_NE(cmac(key.key, bytes_of(report).first(384)), report.mac);
}

TEST_F(ReportTest, TargetsAttributesArePartOfTheKey) {
  const Report self = ereport(probe_, {});
  for (int variant = 0; variant < 4; ++variant) {
    Targetinfo target = target_of(self);
    if (variant == 1) target.attributes ^= kAttributeDebug;
    if (variant == 2) target.xfrm ^= 4;
    if (variant == 3) target.miscselect ^= 1;
    const Report report = ereport(probe_, target);
    const EgetkeyResult key = egetkey(probe_, report_key_request(report));
    EXPECT_EQ(cmac(key.key, bytes_of(report).first(384)) == report.mac, variant == 0) << variant;
  }
}

TEST_F(ReportTest, BadOperandsAreGeneralProtectionFaults) {
  const std::uint64_t leaf = static_cast<std::uint64_t>(Leaf::kEreport), s = probe_.scratch();
  const std::vector<std::uint64_t> cases[] = {
      {leaf, s + 0x100, s + 0x200, s + 0x400},  // TARGETINFO not 512-aligned
      {leaf, s, s + 0x240, s + 0x400},          // REPORTDATA not 128-aligned
      {leaf, s, s + 0x200, s + 0x500},          // REPORT not 512-aligned
      {leaf, 0x10000, s + 0x200, s + 0x400}};   // TARGETINFO outside
  for (const auto& tested : cases) {
    const CallResult result = probe_.call(PROBE_OP_ENCLU, tested);
    ASSERT_TRUE(result.faulted());
    EXPECT_EQ(result.run.exception_vector, kVectorGp);
    probe_.abandon();
  }
}

TEST_F(ReportTest, OutputToAReadOnlyPageIsAPageFault) {
  const CallResult result =
      probe_.call(PROBE_OP_ENCLU, {static_cast<std::uint64_t>(Leaf::kEreport), probe_.scratch(),
                                   probe_.scratch() + 0x200, probe_.base()});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_vector, kVectorPf);
  EXPECT_EQ(result.run.exception_addr, probe_.base());
}

using KeyTest = IdentityTest;

TEST_F(KeyTest, SameRequestGivesTheSameKey) {
  const Keyrequest request = seal_request(probe_, kPolicyMrenclave);
  EXPECT_EQ(seal_key(probe_, request), seal_key(probe_, request));
  const ProbeEnclave twin;
  EXPECT_EQ(seal_key(twin, request), seal_key(probe_, request)) << "also in another instance";
}

TEST_F(KeyTest, SuccessClearsTheFlagsAndErrorSetsZfAndWritesNothing) {
  Keyrequest request = seal_request(probe_, kPolicyMrenclave);
  EXPECT_EQ(egetkey(probe_, request).rflags & kStatusFlags, 0u);
  request.isv_svn = 6;  // Of an enclave with ISVSVN 5.
  const EgetkeyResult error = egetkey(probe_, request);
  EXPECT_EQ(error.rax, 64u) << "SGX_INVALID_ISVSVN";
  EXPECT_EQ(error.rflags & kStatusFlags, kZf);
  EXPECT_EQ(error.key, (Key{0xee, 0xee, 0xee, 0xee}));
}

TEST_F(KeyTest, SealKeyToMrenclaveDiffersBetweenEnclaves) {
  const ProbeEnclave other(other_code());
  EXPECT_NE(seal_key(probe_, seal_request(probe_, kPolicyMrenclave)),
            seal_key(other, seal_request(other, kPolicyMrenclave)));
}

TEST_F(KeyTest, SealKeyToMrsignerIsSharedByEnclavesOfOneSigner) {
  const ProbeEnclave other(other_code());
  EXPECT_EQ(seal_key(probe_, seal_request(probe_, kPolicyMrsigner)),
            seal_key(other, seal_request(other, kPolicyMrsigner)));
}

TEST_F(KeyTest, SealKeyToMrsignerDependsOnTheProduct) {
  const ProbeEnclave other({}, with_sigstruct([](Sigstruct& s) { s.isv_prod_id = 8; }));
  EXPECT_NE(seal_key(probe_, seal_request(probe_, kPolicyMrsigner)),
            seal_key(other, seal_request(other, kPolicyMrsigner)));
}

TEST_F(KeyTest, DebugAndProductionEnclavesNeverShareASealKey) {
  ProbeOptions debug;
  debug.image.attributes |= kAttributeDebug;
  const ProbeEnclave other(debug);
  for (const std::uint16_t policy : {kPolicyMrenclave, kPolicyMrsigner}) {
    Keyrequest request = seal_request(probe_, policy);
    request.attributes_mask = 0;  // INIT and DEBUG enter the key all the same.
    EXPECT_NE(seal_key(probe_, request), seal_key(other, request));
  }
}

TEST_F(KeyTest, OlderVersionsKeyIsForNewerEnclavesToo) {
  const ProbeEnclave newer({}, with_sigstruct([](Sigstruct& s) { s.isv_svn = 9; }));
  Keyrequest request = seal_request(probe_, kPolicyMrsigner);
  EXPECT_EQ(seal_key(newer, request), seal_key(probe_, request));
  request.isv_svn = 9;
  EXPECT_NE(seal_key(newer, request), seal_key(probe_, seal_request(probe_, kPolicyMrsigner)));
}

TEST_F(KeyTest, KeyIdSeparatesKeys) {
  Keyrequest request = seal_request(probe_, kPolicyMrenclave);
  const Key first = seal_key(probe_, request);
  request.key_id[31] = 1;
  EXPECT_NE(seal_key(probe_, request), first);
}

TEST_F(KeyTest, XfrmEntersTheKeyIfTheMaskSelectsIt) {
  if ((testable_xfrm() & 4) == 0) GTEST_SKIP() << "needs AVX for a second XFRM";
  ProbeOptions avx;
  avx.image.xfrm = 7;
  const ProbeEnclave other(avx);
  Keyrequest request = seal_request(probe_, kPolicyMrsigner);
  EXPECT_NE(seal_key(probe_, request), seal_key(other, request));
  request.xfrm_mask = 3;
  EXPECT_EQ(seal_key(probe_, request), seal_key(other, request));
}

TEST_F(KeyTest, ReportKeyIsNoSealKey) {
  Keyrequest request = seal_request(probe_, kPolicyMrenclave);
  const Key seal = seal_key(probe_, request);
  request.key_name = KeyName::kReport;
  EXPECT_NE(egetkey(probe_, request).key, seal);
}

TEST_F(KeyTest, KeysNeedTheirAttribute) {
  for (const KeyName name : {KeyName::kProvision, KeyName::kProvisionSeal, KeyName::kEinittoken}) {
    Keyrequest request = seal_request(probe_, 0);
    request.key_name = name;
    const EgetkeyResult result = egetkey(probe_, request);
    EXPECT_EQ(result.rax, 2u) << "SGX_INVALID_ATTRIBUTE for key " << static_cast<int>(name);
    EXPECT_EQ(result.rflags & kStatusFlags, kZf);
  }
}

TEST_F(KeyTest, UnknownKeyNameIsRefused) {
  Keyrequest request = seal_request(probe_, 0);
  request.key_name = static_cast<KeyName>(5);
  EXPECT_EQ(egetkey(probe_, request).rax, 256u) << "SGX_INVALID_KEYNAME";
}

TEST_F(KeyTest, CpusvnBeyondTheMachinesIsRefused) {
  Keyrequest request = seal_request(probe_, kPolicyMrenclave);
  request.cpu_svn.fill(0xff);
  EXPECT_EQ(egetkey(probe_, request).rax, 32u) << "SGX_INVALID_CPUSVN";
}

TEST_F(KeyTest, ReservedFieldsAreGeneralProtectionFaults) {
  for (int variant = 0; variant < 4; ++variant) {
    Keyrequest request = seal_request(probe_, kPolicyMrenclave);
    if (variant == 0) request.key_policy |= 0x8000;
    if (variant == 1) request.reserved2[400] = 1;
    if (variant == 2) request.key_policy |= 4;  // NOISVPRODID needs KSS.
    if (variant == 3) request.config_svn = 1;   // And so does CONFIGSVN.
    probe_.copy(probe_.scratch(), address_of(&request), sizeof request);
    const CallResult result = probe_.call(PROBE_OP_ENCLU, {static_cast<std::uint64_t>(Leaf::kEgetkey),
                                                           probe_.scratch(), probe_.scratch() + 0x400});
    ASSERT_TRUE(result.faulted()) << variant;
    EXPECT_EQ(result.run.exception_vector, kVectorGp) << variant;
    probe_.abandon();
  }
}

TEST_F(KeyTest, BadAddressesAreGeneralProtectionFaults) {
  const std::uint64_t leaf = static_cast<std::uint64_t>(Leaf::kEgetkey), s = probe_.scratch();
  const std::vector<std::uint64_t> cases[] = {
      {leaf, s + 0x80, s + 0x400}, {leaf, s, s + 0x408}, {leaf, 0x10000, s + 0x400}, {leaf, s, 0x10000}};
  for (const auto& tested : cases) {
    const CallResult result = probe_.call(PROBE_OP_ENCLU, tested);
    ASSERT_TRUE(result.faulted());
    EXPECT_EQ(result.run.exception_vector, kVectorGp);
    probe_.abandon();
  }
}

}  // namespace
}  // namespace enclume::test
