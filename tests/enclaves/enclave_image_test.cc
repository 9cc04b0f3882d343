// SPDX-License-Identifier: Apache-2.0
//
// The tests' own oracle, held against answers that neither it nor src/ computed.
#include "enclaves/enclave_image.h"

#include <gtest/gtest.h>
#include <openssl/bn.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <memory>
#include <string>

#include "enclaves/probe_enclave.h"
#include "enclaves/signer.h"

namespace enclume::test {
namespace {

std::string hex(const Hash& hash) {
  std::string text;
  for (const std::uint8_t byte : hash) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return text;
}

EnclaveImage small_image() {
  EnclaveImage image(0x4000,
                     {.attributes = kAttributeMode64, .xfrm = 3, .miscselect = 0, .ssa_frame_pages = 1});
  PageBytes counting;
  for (std::size_t i = 0; i < counting.size(); ++i) counting[i] = static_cast<std::uint8_t>(i * 7 + i / 256);
  image.add_page(0, kPtReg | kR | kX, counting);
  image.add_page(0x1000, kPtReg | kR | kW, counting, false);
  image.add_tcs(0x3000, Tcs{.state = 0,
                            .flags = 0,
                            .ossa = 0x1000,
                            .cssa = 0,
                            .nssa = 1,
                            .oentry = 0x10,
                            .aep = 0,
                            .ofsbase = 0,
                            .ogsbase = 0,
                            .fslimit = 0xfff,
                            .gslimit = 0xfff,
                            .reserved = {}});
  return image;
}

// Computed once with Python's hashlib and struct, straight from the SDM's description of ECREATE, EADD and
// EEXTEND:
//   h = b"ECREATE\0" + pack("<IQ", 1, 0x4000) + bytes(44)
//   a page: b"EADD\0\0\0\0" + pack("<QQ", offset, flags) + bytes(40), then for each measured 256-byte chunk
//           b"EEXTEND\0" + pack("<Q", offset + chunk) + bytes(48) + data
TEST(EnclaveImageTest, MeasurementEqualsAnIndependentOne) {
  EXPECT_EQ(hex(small_image().mrenclave()),
            "a2d4a1411794481485863ff0fb382eb13792a78043fc55c798fe1084ec331447");
}

TEST(EnclaveImageTest, MeasurementIsTheHashOfTheMeasuredBytes) {
  const EnclaveImage image = small_image();
  EXPECT_EQ(image.mrenclave(), sha256(image.measured_bytes()));
}

TEST(EnclaveImageTest, UnmeasuredContentsDoNotMatterButTheirPageDoes) {
  EnclaveImage image = small_image();
  const Hash before = image.mrenclave();
  image.page(0x1000).bytes[17] ^= 1;
  EXPECT_EQ(image.mrenclave(), before);
  image.page(0x1000).secinfo_flags ^= kW;
  EXPECT_NE(image.mrenclave(), before);
}

class SignatureTest : public ::testing::Test {
 protected:
  using Number = std::unique_ptr<BIGNUM, decltype(&BN_free)>;
  static Number number(const std::array<std::uint8_t, 384>& bytes) {
    return {BN_lebin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr), BN_free};
  }

  const Sigstruct sigstruct_ = signed_sigstruct(small_image());
};

TEST_F(SignatureTest, SignatureCubedIsThePaddedHash) {
  const std::unique_ptr<BN_CTX, decltype(&BN_CTX_free)> context(BN_CTX_new(), BN_CTX_free);
  const Number modulus = number(sigstruct_.modulus), signature = number(sigstruct_.signature);
  const Number three(BN_new(), BN_free), message(BN_new(), BN_free);
  BN_set_word(three.get(), 3);
  ASSERT_EQ(BN_mod_exp(message.get(), signature.get(), three.get(), modulus.get(), context.get()), 1);
  std::array<std::uint8_t, 384> padded;
  ASSERT_EQ(BN_bn2binpad(message.get(), padded.data(), 384), 384);
  EXPECT_EQ(padded[0], 0);
  EXPECT_EQ(padded[1], 1);
  EXPECT_TRUE(std::all_of(padded.begin() + 2, padded.begin() + 332, [](int byte) { return byte == 0xff; }));

  std::vector<std::uint8_t> signed_part(bytes_of(sigstruct_).begin(), bytes_of(sigstruct_).begin() + 128);
  const auto body = bytes_of(sigstruct_).subspan(900, 128);
  signed_part.insert(signed_part.end(), body.begin(), body.end());
  const Hash hash = sha256(signed_part);
  EXPECT_TRUE(std::equal(hash.begin(), hash.end(), padded.end() - 32));
}

TEST_F(SignatureTest, QuotientsFulfilTheirDefinition) {
  const std::unique_ptr<BN_CTX, decltype(&BN_CTX_free)> context(BN_CTX_new(), BN_CTX_free);
  const Number modulus = number(sigstruct_.modulus), signature = number(sigstruct_.signature);
  const Number q1 = number(sigstruct_.q1), q2 = number(sigstruct_.q2);
  const auto times = [&](const BIGNUM* a, const BIGNUM* b) {
    Number product(BN_new(), BN_free);
    BN_mul(product.get(), a, b, context.get());
    return product;
  };
  // 0 <= S^2 - Q1*M < M and 0 <= S^3 - Q1*S*M - Q2*M < M.
  const Number square = times(signature.get(), signature.get());
  const Number rest1(BN_new(), BN_free), rest2(BN_new(), BN_free);
  BN_sub(rest1.get(), square.get(), times(q1.get(), modulus.get()).get());
  EXPECT_FALSE(BN_is_negative(rest1.get()));
  EXPECT_LT(BN_cmp(rest1.get(), modulus.get()), 0);
  BN_sub(rest2.get(), times(signature.get(), rest1.get()).get(), times(q2.get(), modulus.get()).get());
  EXPECT_FALSE(BN_is_negative(rest2.get()));
  EXPECT_LT(BN_cmp(rest2.get(), modulus.get()), 0);
}

TEST_F(SignatureTest, MrsignerIsTheHashOfTheModulusAsStored) {
  EXPECT_EQ(SigningKey::shared().mrsigner(), sha256(sigstruct_.modulus));
}

TEST(ProbeImageTest, SizeIsAPowerOfTwoThatHoldsAllPages) {
  ProbeOptions options;
  options.threads = 5;
  options.heap_pages = 17;
  const EnclaveImage image = probe_image(options);
  EXPECT_EQ(image.size() & (image.size() - 1), 0u);
  EXPECT_LE(image.pages().rbegin()->first + kPage, image.size());
  EXPECT_EQ(image.pages().size() * kPage, heap_offset(options) + 17 * kPage);
}

TEST(ProbeImageTest, RaiseSitesLieInTheCode) {
  for (std::uint64_t number = 0; number < PROBE_RAISE_COUNT; ++number) {
    const RaiseSite site = raise_site(number);
    EXPECT_LT(site.instruction, site.next) << number;
    EXPECT_LT(site.next, probe_code().size()) << number;
  }
}

}  // namespace
}  // namespace enclume::test
