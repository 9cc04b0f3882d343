// SPDX-License-Identifier: Apache-2.0
// seal() and unseal() with a processor that is whatever a test wants it to be.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string_view>
#include <vector>

#include "enclume/enclave/sealing.h"
#include "runtime/fake_processor.h"

namespace enclume {
namespace {

using test::processor;
using Bytes = std::vector<std::byte>;

constexpr std::string_view kText = "what nobody else is to know";

Bytes bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

class Sealing : public testing::Test {
 protected:
  Sealing() {
    processor = {};
    ReportBody& self = processor.self;
    self.identity.mrenclave.fill(std::byte{0xe0});
    self.identity.mrsigner.fill(std::byte{0x51});
    self.attributes = {kAttributeInit | 4, 3};
    self.version.isv_prod_id = 7;
    self.version.isv_svn = 5;
    self.cpu_svn = {std::byte{2}, std::byte{9}};
  }
  ~Sealing() override { processor = {}; }

  static Bytes seal_text(SealPolicy policy = SealPolicy::kSigner, std::string_view text = kText) {
    Bytes out(sealed_size(text.size()));
    const auto sealed = seal(bytes_of(text), bytes_of("label"), policy, out);
    EXPECT_TRUE(sealed);
    EXPECT_EQ(sealed->size(), out.size());
    return out;
  }

  // kOk: it is the text. Otherwise the output must be as it was.
  static Code open(std::span<const std::byte> sealed, std::string_view label = "label",
                   std::uint16_t least_svn = 0) {
    const Bytes untouched(unsealed_size(sealed), std::byte{0x77});
    Bytes out = untouched;
    const auto data = unseal(sealed, bytes_of(label), out, least_svn);
    if (data) {
      EXPECT_EQ(Bytes(data->begin(), data->end()), bytes_of(kText));
      return Code::kOk;
    }
    EXPECT_EQ(out, untouched);
    return data.error().code;
  }

  template <typename T>
  static void put(Bytes& sealed, std::size_t offset, T value) {
    std::memcpy(sealed.data() + offset, &value, sizeof value);
  }
};

TEST_F(Sealing, ComesBack) {
  for (const SealPolicy policy : {SealPolicy::kEnclave, SealPolicy::kSigner}) {
    const Bytes sealed = seal_text(policy);
    EXPECT_EQ(open(sealed), Code::kOk);
    const auto hidden = bytes_of(kText);
    EXPECT_TRUE(std::ranges::search(sealed, hidden).empty());
  }
}

TEST_F(Sealing, NothingComesBack) {
  Bytes sealed(sealed_size(0));
  ASSERT_TRUE(seal({}, {}, SealPolicy::kEnclave, sealed));
  const auto data = unseal(sealed, {}, {});
  ASSERT_TRUE(data);
  EXPECT_TRUE(data->empty());
}

TEST_F(Sealing, OfTheSameDataIsDifferentEachTime) {
  const Bytes first = seal_text(), second = seal_text();
  EXPECT_NE(Bytes(first.begin() + 160, first.end()), Bytes(second.begin() + 160, second.end()));
  EXPECT_NE(Bytes(first.begin() + 64, first.begin() + 96), Bytes(second.begin() + 64, second.begin() + 96));
}

TEST_F(Sealing, EachChangedByteIsRefusedForAReason) {
  const Bytes sealed = seal_text();
  const std::map<std::size_t, Code> kReasons = {{0, Code::kNotSealed},
                                                {7, Code::kNotSealed},
                                                {8, Code::kNewerFormat},
                                                {14, Code::kWrongProduct},
                                                {17, Code::kNewerEnclave},
                                                {19, Code::kNewerConfiguration},
                                                {20, Code::kAltered},
                                                {24, Code::kWrongMode},
                                                {32, Code::kWrongSize},
                                                {40, Code::kAltered},
                                                {63, Code::kNewerProcessor},
                                                {64, Code::kAltered},
                                                {96, Code::kWrongSigner},
                                                {127, Code::kWrongSigner},
                                                {128, Code::kAltered},
                                                {140, Code::kAltered},
                                                {144, Code::kAltered},
                                                {160, Code::kAltered},
                                                {sealed.size() - 1, Code::kAltered}};
  for (std::size_t at = 0; at < sealed.size(); ++at) {
    for (const unsigned change : {1U, 2U, 0x80U, 0xffU}) {
      Bytes altered = sealed;
      altered[at] ^= static_cast<std::byte>(change);
      const Code code = open(altered);
      EXPECT_NE(code, Code::kOk) << at;
      if (const auto reason = kReasons.find(at); reason != kReasons.end() && change == 0x80) {
        EXPECT_EQ(code, reason->second) << at << ": " << describe(code);
      }
    }
  }
}

TEST_F(Sealing, EachOtherLengthIsRefused) {
  Bytes sealed = seal_text();
  for (std::size_t size = 0; size < sealed.size(); ++size) {
    EXPECT_EQ(open(std::span(sealed).first(size)), size < 160 ? Code::kNotSealed : Code::kWrongSize);
  }
  sealed.push_back(std::byte{0});
  EXPECT_EQ(open(sealed), Code::kWrongSize);
}

TEST_F(Sealing, OtherAdditionalDataAreRefused) {
  const Bytes sealed = seal_text();
  EXPECT_EQ(open(sealed, "Label"), Code::kAltered);
  EXPECT_EQ(open(sealed, "labels"), Code::kAltered);
  EXPECT_EQ(open(sealed, ""), Code::kAltered);
}

TEST_F(Sealing, AnotherEnclaveOfTheSameSignerHasTheSignersAlone) {
  const Bytes for_signer = seal_text(SealPolicy::kSigner), for_enclave = seal_text(SealPolicy::kEnclave);
  processor.self.identity.mrenclave[5] = std::byte{1};
  EXPECT_EQ(open(for_signer), Code::kOk);
  EXPECT_EQ(open(for_enclave), Code::kWrongEnclave);
  processor.self.identity.mrsigner[5] = std::byte{1};
  EXPECT_EQ(open(for_signer), Code::kWrongSigner);
}

TEST_F(Sealing, ClaimingToBeTheOwnersDoesNotHelp) {
  Bytes sealed = seal_text(SealPolicy::kEnclave);
  processor.self.identity.mrenclave[5] = std::byte{1};
  std::memcpy(sealed.data() + offsetof(SealedHeader, identity), &processor.self.identity.mrenclave, 32);
  EXPECT_EQ(open(sealed), Code::kAltered);
  put(sealed, offsetof(SealedHeader, policy), std::uint16_t{2});
  std::memcpy(sealed.data() + offsetof(SealedHeader, identity), &processor.self.identity.mrsigner, 32);
  EXPECT_EQ(open(sealed), Code::kAltered);
}

TEST_F(Sealing, AnotherProductIsRefused) {
  const Bytes sealed = seal_text();
  processor.self.version.isv_prod_id = 8;
  EXPECT_EQ(open(sealed), Code::kWrongProduct);
}

TEST_F(Sealing, DebugAndProductionDoNotShare) {
  const Bytes sealed = seal_text();
  processor.self.attributes.flags |= kAttributeDebug;
  EXPECT_EQ(open(sealed), Code::kWrongMode);
}

TEST_F(Sealing, WhatALoaderChoosesByTheMachineMakesNoDifference) {
  const Bytes sealed = seal_text();
  processor.self.attributes.xfrm = 0xe7;
  processor.self.miscselect = 1;
  processor.self.attributes.flags |= 1 << 10;  // AEXNOTIFY
  EXPECT_EQ(open(sealed), Code::kOk);
}

TEST_F(Sealing, LaterVersionsCanAndEarlierOnesCannot) {
  const Bytes sealed = seal_text();
  processor.self.version.isv_svn = 6;
  EXPECT_EQ(open(sealed), Code::kOk);
  EXPECT_EQ(open(sealed, "label", 5), Code::kOk);
  EXPECT_EQ(open(sealed, "label", 6), Code::kOlderEnclave);
  const Bytes newer = seal_text();
  processor.self.version.isv_svn = 5;
  EXPECT_EQ(open(sealed), Code::kOk);
  EXPECT_EQ(open(newer), Code::kNewerEnclave);
}

TEST_F(Sealing, LaterMicrocodeCanAndEarlierCannot) {
  const Bytes sealed = seal_text();
  processor.self.cpu_svn[1] = std::byte{10};
  EXPECT_EQ(open(sealed), Code::kOk);
  const Bytes newer = seal_text();
  processor.self.cpu_svn[1] = std::byte{9};
  EXPECT_EQ(open(newer), Code::kNewerProcessor);
}

TEST_F(Sealing, WithKssTheConfigurationCounts) {
  const Bytes without = seal_text();
  processor.self.attributes.flags |= kAttributeKss;
  EXPECT_EQ(open(without), Code::kWrongMode);
  processor.self.version.config_svn = 3;
  processor.self.config_id[0] = std::byte{1};
  const Bytes sealed = seal_text();
  EXPECT_EQ(open(sealed), Code::kOk);
  processor.self.version.config_svn = 4;
  EXPECT_EQ(open(sealed), Code::kOk);
  processor.self.version.config_svn = 2;
  EXPECT_EQ(open(sealed), Code::kNewerConfiguration);
  processor.self.version.config_svn = 3;
  processor.self.config_id[0] = std::byte{2};
  EXPECT_EQ(open(sealed), Code::kAltered);
  processor.self.attributes.flags &= ~kAttributeKss;
  processor.self.version.config_svn = 0;
  EXPECT_EQ(open(sealed), Code::kWrongMode);
}

TEST_F(Sealing, OfTooMuchIsRefused) {
  // Not there, but nobody looks.
  static std::byte one;
  Bytes out(200);
  EXPECT_EQ(seal({&one, kMaxSealedData + 1}, {}, SealPolicy::kSigner, out).error().code, Code::kTooBig);
  EXPECT_EQ(seal({}, {&one, kMaxSealedData + 1}, SealPolicy::kSigner, out).error().code, Code::kTooBig);
}

TEST_F(Sealing, WithoutRoomForTheOutputIsRefused) {
  Bytes out(sealed_size(kText.size()) - 1, std::byte{0x77});
  const Bytes untouched = out;
  EXPECT_EQ(seal(bytes_of(kText), {}, SealPolicy::kSigner, out).error().code, Code::kNoRoom);
  EXPECT_EQ(out, untouched);
  const Bytes sealed = seal_text();
  Bytes small(kText.size() - 1);
  EXPECT_EQ(unseal(sealed, bytes_of("label"), small).error().code, Code::kNoRoom);
}

TEST_F(Sealing, OutsideOfTheEnclaveIsRefused) {
  const Bytes sealed = seal_text();
  processor.all_is_inside = false;
  Bytes out(300);
  EXPECT_EQ(seal(bytes_of(kText), {}, SealPolicy::kSigner, out).error().code, Code::kBadRange);
  EXPECT_EQ(open(sealed), Code::kBadRange);
}

TEST_F(Sealing, OntoItsOwnInputIsRefused) {
  Bytes both(400);
  const auto all = std::span(both);
  EXPECT_EQ(seal(all.subspan(300), {}, SealPolicy::kSigner, all.first(301)).error().code, Code::kBadRange);
  EXPECT_EQ(seal({}, all.first(1), SealPolicy::kSigner, all).error().code, Code::kBadRange);
  EXPECT_TRUE(seal(all.subspan(300), {}, SealPolicy::kSigner, all.first(300)));
  EXPECT_EQ(unseal(all.first(260), {}, all.subspan(259)).error().code, Code::kBadRange);
}

TEST_F(Sealing, WithoutAesOrRandomnessIsRefused) {
  const Bytes sealed = seal_text();
  Bytes out(300, std::byte{0x77});
  const Bytes untouched = out;
  processor.has_random = false;
  EXPECT_EQ(seal(bytes_of(kText), {}, SealPolicy::kSigner, out).error().code, Code::kNoRandomness);
  processor.has_aes = false;
  EXPECT_EQ(seal(bytes_of(kText), {}, SealPolicy::kSigner, out).error().code, Code::kNoCryptography);
  EXPECT_EQ(open(sealed), Code::kNoCryptography);
  EXPECT_EQ(out, untouched);
}

}  // namespace
}  // namespace enclume
