// SPDX-License-Identifier: Apache-2.0
// The enclave's AES-GCM and AES-CMAC against published vectors and OpenSSL.
#include "runtime/enclave/aes.h"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

namespace {

using enclume::enclave::AesBlock;
using enclume::enclave::AesKey;
using enclume::enclave::cmac;
using enclume::enclave::gcm_decrypt;
using enclume::enclave::gcm_encrypt;
using enclume::enclave::GcmNonce;
using Bytes = std::vector<std::byte>;

Bytes from_hex(std::string_view text) {
  const auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
  Bytes bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(digit(text[i]) << 4 | digit(text[i + 1])));
  }
  return bytes;
}
template <typename Array>
Array array_of(const Bytes& bytes) {
  Array array{};
  EXPECT_EQ(bytes.size(), array.size());
  std::ranges::copy(bytes, array.begin());
  return array;
}
const unsigned char* plain(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

struct Vector {
  const char *name, *key, *nonce, *additional, *data, *encrypted, *tag;
};

// "The Galois/Counter Mode of Operation (GCM)", McGrew and Viega, appendix B: the cases with AES-128 and
// nonces of 96 bits.
constexpr char kKey[] = "feffe9928665731c6d6a8f9467308308";
constexpr char kNonce[] = "cafebabefacedbaddecaf888";
constexpr Vector kVectors[] = {
    {"Case1", "00000000000000000000000000000000", "000000000000000000000000", "", "", "",
     "58e2fccefa7e3061367f1d57a4e7455a"},
    {"Case2", "00000000000000000000000000000000", "000000000000000000000000", "",
     "00000000000000000000000000000000", "0388dace60b6a392f328c2b971b2fe78",
     "ab6e47d42cec13bdf53a67b21257bddf"},
    {"Case3", kKey, kNonce, "",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
     "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985",
     "4d5c2af327cd64a62cf35abd2ba6fab4"},
    {"Case4", kKey, kNonce, "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
     "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
     "5bc94fbc3221a5db94fae95ae7121a47"},
};

TEST(AesGcm, GivesThePublishedAnswers) {
  for (const Vector& v : kVectors) {
    SCOPED_TRACE(v.name);
    const auto key = array_of<AesKey>(from_hex(v.key));
    const auto nonce = array_of<GcmNonce>(from_hex(v.nonce));
    const Bytes additional = from_hex(v.additional), data = from_hex(v.data);
    Bytes out(data.size());
    const AesBlock tag = gcm_encrypt(key, nonce, {}, additional, data, out.data());
    EXPECT_EQ(out, from_hex(v.encrypted));
    EXPECT_EQ(Bytes(tag.begin(), tag.end()), from_hex(v.tag));
    Bytes back(data.size());
    EXPECT_TRUE(gcm_decrypt(key, nonce, {}, additional, out, tag, back.data()));
    EXPECT_EQ(back, data);
  }
  EXPECT_TRUE(enclume::enclave::aes_gives_known_answer());
}

class Random {
 public:
  Bytes bytes(std::size_t size) {
    Bytes result(size);
    for (std::byte& b : result) b = static_cast<std::byte>(engine_());
    return result;
  }
  template <typename Array>
  Array array() {
    return array_of<Array>(bytes(std::tuple_size_v<Array>));
  }

 private:
  std::mt19937 engine_{20261127};
};

// What OpenSSL makes of it; header and additional data one after the other.
Bytes openssl_gcm(const AesKey& key, const GcmNonce& nonce, const Bytes& header, const Bytes& additional,
                  const Bytes& data, AesBlock& tag) {
  const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(EVP_CIPHER_CTX_new(),
                                                                                EVP_CIPHER_CTX_free);
  EXPECT_EQ(EVP_EncryptInit_ex(context.get(), EVP_aes_128_gcm(), nullptr, plain(key), plain(nonce)), 1);
  int length = 0;
  for (const Bytes* part : {&header, &additional}) {
    EXPECT_EQ(
        EVP_EncryptUpdate(context.get(), nullptr, &length, plain(*part), static_cast<int>(part->size())), 1);
  }
  Bytes out(data.size() + 16);
  auto* const to = reinterpret_cast<unsigned char*>(out.data());
  EXPECT_EQ(EVP_EncryptUpdate(context.get(), to, &length, plain(data), static_cast<int>(data.size())), 1);
  int rest = 0;
  EXPECT_EQ(EVP_EncryptFinal_ex(context.get(), to + length, &rest), 1);
  EXPECT_EQ(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, 16, tag.data()), 1);
  out.resize(data.size());
  return out;
}

TEST(AesGcm, AgreesWithOpensslForEveryLength) {
  Random random;
  for (std::size_t size = 0; size < 700; ++size) {
    SCOPED_TRACE(size);
    const auto key = random.array<AesKey>();
    const auto nonce = random.array<GcmNonce>();
    const Bytes header = random.bytes(size % 5 * 48), additional = random.bytes(size * 7 % 301);
    const Bytes data = random.bytes(size);
    AesBlock expected;
    const Bytes encrypted = openssl_gcm(key, nonce, header, additional, data, expected);
    Bytes out(size);
    ASSERT_EQ(gcm_encrypt(key, nonce, header, additional, data, out.data()), expected);
    ASSERT_EQ(out, encrypted);
    Bytes back(size);
    ASSERT_TRUE(gcm_decrypt(key, nonce, header, additional, out, expected, back.data()));
    ASSERT_EQ(back, data);
  }
}

TEST(AesGcm, AgreesWithOpensslBeyondTheCountersFirstByte) {
  Random random;
  const auto key = random.array<AesKey>();
  const auto nonce = random.array<GcmNonce>();
  const Bytes data = random.bytes((std::size_t{1} << 21) + 77);
  AesBlock expected;
  const Bytes encrypted = openssl_gcm(key, nonce, {}, {}, data, expected);
  Bytes out = data;  // in place
  EXPECT_EQ(gcm_encrypt(key, nonce, {}, {}, out, out.data()), expected);
  EXPECT_TRUE(out == encrypted);
}

TEST(AesGcm, RefusesEachChangedBitAndLeavesTheOutputAlone) {
  Random random;
  const auto key = random.array<AesKey>();
  const auto nonce = random.array<GcmNonce>();
  Bytes header = random.bytes(32), additional = random.bytes(20), data = random.bytes(40);
  AesBlock tag = gcm_encrypt(key, nonce, header, additional, data, data.data());
  const Bytes untouched(data.size(), std::byte{0xee});
  Bytes out = untouched;
  const auto refused = [&] { return !gcm_decrypt(key, nonce, header, additional, data, tag, out.data()); };
  const auto flip_each = [&](auto& part) {
    for (std::size_t bit = 0; bit < part.size() * 8; ++bit) {
      part[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
      ASSERT_TRUE(refused()) << bit;
      part[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    }
  };
  flip_each(header);
  flip_each(additional);
  flip_each(data);
  flip_each(tag);
  EXPECT_EQ(out, untouched);
  EXPECT_FALSE(refused());
}

TEST(AesCmac, GivesThePublishedAnswers) {
  // RFC 4493, section 4.
  const auto key = array_of<AesKey>(from_hex("2b7e151628aed2a6abf7158809cf4f3c"));
  const Bytes data = from_hex(
      "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
      "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710");
  const std::pair<std::size_t, const char*> kAnswers[] = {{0, "bb1d6929e95937287fa37d129b756746"},
                                                          {16, "070a16b46b4d4144f79bdd9dd04a287c"},
                                                          {40, "dfa66747de9ae63030ca32611497c827"},
                                                          {64, "51f0bebf7e3b9d92fc49741779363cfe"}};
  for (const auto& [size, answer] : kAnswers) {
    const AesBlock mac = cmac(key, std::span(data).first(size));
    EXPECT_EQ(Bytes(mac.begin(), mac.end()), from_hex(answer)) << size;
  }
}

TEST(AesCmac, AgreesWithOpensslForEveryLength) {
  Random random;
  const std::unique_ptr<EVP_MAC, decltype(&EVP_MAC_free)> mac(EVP_MAC_fetch(nullptr, "CMAC", nullptr),
                                                              EVP_MAC_free);
  for (std::size_t size = 0; size < 400; ++size) {
    const auto key = random.array<AesKey>();
    const Bytes data = random.bytes(size);
    const std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)> context(EVP_MAC_CTX_new(mac.get()),
                                                                            EVP_MAC_CTX_free);
    char cipher[] = "AES-128-CBC";
    const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher, 0),
                                     OSSL_PARAM_construct_end()};
    ASSERT_EQ(EVP_MAC_init(context.get(), plain(key), key.size(), parameters), 1);
    ASSERT_EQ(EVP_MAC_update(context.get(), plain(data), data.size()), 1);
    AesBlock expected;
    std::size_t length = 0;
    ASSERT_EQ(EVP_MAC_final(context.get(), reinterpret_cast<unsigned char*>(expected.data()), &length,
                            expected.size()),
              1);
    ASSERT_EQ(cmac(key, data), expected) << size;
  }
}

}  // namespace
