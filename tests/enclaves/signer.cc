// SPDX-License-Identifier: Apache-2.0
#include "enclaves/signer.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace enclume::test {
namespace {

using Bignum = std::unique_ptr<BIGNUM, decltype(&BN_free)>;
using BignumContext = std::unique_ptr<BN_CTX, decltype(&BN_CTX_free)>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)>;

void require(bool good, const char* what) {
  if (!good) throw std::runtime_error(std::string("OpenSSL: ") + what + " failed");
}

void store_little_endian(const BIGNUM* number, std::array<std::uint8_t, 384>& out) {
  require(BN_bn2lebinpad(number, out.data(), static_cast<int>(out.size())) >= 0, "BN_bn2lebinpad");
}

}  // namespace

SigningKey SigningKey::generate() {
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr), EVP_PKEY_CTX_free);
  const Bignum three(BN_new(), BN_free);
  EVP_PKEY* key = nullptr;
  require(context != nullptr && BN_set_word(three.get(), 3) == 1 &&
              EVP_PKEY_keygen_init(context.get()) == 1 &&
              EVP_PKEY_CTX_set_rsa_keygen_bits(context.get(), 3072) == 1 &&
              EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context.get(), three.get()) == 1 &&
              EVP_PKEY_generate(context.get(), &key) == 1,
          "RSA key generation");
  return SigningKey(key);
}

const SigningKey& SigningKey::shared() {
  static const SigningKey key = [] {
    std::ifstream file(ENCLUME_TEST_KEY);
    if (!file) throw std::runtime_error(std::string("no signing key at ") + ENCLUME_TEST_KEY);
    return SigningKey(std::string(std::istreambuf_iterator<char>(file), {}));
  }();
  return key;
}

SigningKey::SigningKey(const std::string& pem) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  key_.reset(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  require(key_ != nullptr, "reading the signing key");
}

std::string SigningKey::pem() const {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
  require(PEM_write_bio_PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1,
          "writing the signing key");
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

void SigningKey::sign(Sigstruct& sigstruct) const {
  BIGNUM* raw_modulus = nullptr;
  require(EVP_PKEY_get_bn_param(key_.get(), OSSL_PKEY_PARAM_RSA_N, &raw_modulus) == 1, "reading the modulus");
  const Bignum modulus(raw_modulus, BN_free);
  store_little_endian(modulus.get(), sigstruct.modulus);
  sigstruct.exponent = 3;

  // What is signed: the 128 bytes before MODULUS and the 128 bytes from MISCSELECT to before Q1 (SDM 38.13).
  const auto* raw = reinterpret_cast<const std::uint8_t*>(&sigstruct);
  std::array<std::uint8_t, 256> message;
  std::memcpy(message.data(), raw, 128);
  std::memcpy(message.data() + 128, raw + offsetof(Sigstruct, miscselect), 128);

  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  std::array<std::uint8_t, 384> big_endian;
  std::size_t size = big_endian.size();
  require(EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key_.get()) == 1 &&
              EVP_DigestSign(context.get(), big_endian.data(), &size, message.data(), message.size()) == 1 &&
              size == big_endian.size(),
          "signing");
  std::reverse_copy(big_endian.begin(), big_endian.end(), sigstruct.signature.begin());

  // Q1 = floor(S^2 / M), Q2 = floor((S^3 - Q1*S*M) / M) = floor(S * (S^2 mod M) / M).
  const BignumContext numbers(BN_CTX_new(), BN_CTX_free);
  const Bignum s(BN_bin2bn(big_endian.data(), static_cast<int>(size), nullptr), BN_free);
  const Bignum product(BN_new(), BN_free), quotient(BN_new(), BN_free), remainder(BN_new(), BN_free);
  require(BN_sqr(product.get(), s.get(), numbers.get()) == 1 &&
              BN_div(quotient.get(), remainder.get(), product.get(), modulus.get(), numbers.get()) == 1,
          "computing Q1");
  store_little_endian(quotient.get(), sigstruct.q1);
  require(BN_mul(product.get(), s.get(), remainder.get(), numbers.get()) == 1 &&
              BN_div(quotient.get(), nullptr, product.get(), modulus.get(), numbers.get()) == 1,
          "computing Q2");
  store_little_endian(quotient.get(), sigstruct.q2);
}

Hash SigningKey::mrsigner() const {
  BIGNUM* raw_modulus = nullptr;
  require(EVP_PKEY_get_bn_param(key_.get(), OSSL_PKEY_PARAM_RSA_N, &raw_modulus) == 1, "reading the modulus");
  const Bignum modulus(raw_modulus, BN_free);
  std::array<std::uint8_t, 384> bytes;
  store_little_endian(modulus.get(), bytes);
  return sha256(bytes);
}

Sigstruct unsigned_sigstruct(const EnclaveImage& image) {
  Sigstruct sigstruct{};
  sigstruct.header = {0x06, 0, 0, 0, 0xE1, 0, 0, 0, 0, 0, 0x01, 0, 0, 0, 0, 0};
  sigstruct.header2 = {0x01, 0x01, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 0x01, 0, 0, 0};
  sigstruct.vendor = 0;
  sigstruct.date = 0x20260101;
  sigstruct.miscselect = image.options().miscselect;
  sigstruct.miscmask = ~0u;
  // EINIT compares the attributes that the mask selects; INIT is not set yet in the SECS at that time.
  sigstruct.attributes = image.options().attributes & ~(kAttributeDebug | kAttributeInit);
  sigstruct.attributes_mask = ~(kAttributeDebug | kAttributeInit);
  sigstruct.xfrm = 3;
  sigstruct.xfrm_mask = 3;
  sigstruct.enclave_hash = image.mrenclave();
  sigstruct.isv_prod_id = 7;
  sigstruct.isv_svn = 5;
  return sigstruct;
}

Sigstruct signed_sigstruct(const EnclaveImage& image) {
  Sigstruct sigstruct = unsigned_sigstruct(image);
  SigningKey::shared().sign(sigstruct);
  return sigstruct;
}

}  // namespace enclume::test
