// SPDX-License-Identifier: Apache-2.0
// At build time: writes a SIGSTRUCT for the matrix's enclave, signed by a key that is thrown away. Nothing
// is attested by it; EINIT wants one.
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

#include "cli/matrix/probe/image.h"

namespace enclume::cli::matrix::probe {
namespace {

using Bignum = std::unique_ptr<BIGNUM, decltype(&BN_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Digest = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

constexpr std::size_t kRsaSize = 384;

void require(bool good, const char* what) {
  if (!good) throw std::runtime_error(std::string("OpenSSL: ") + what + " failed");
}

// MRENCLAVE (SDM Vol. 3D, ECREATE, EADD and EEXTEND): a SHA-256 over 64-byte blocks.
class Measurement {
 public:
  Measurement() : digest_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    require(EVP_DigestInit_ex(digest_.get(), EVP_sha256(), nullptr) == 1, "SHA-256");
  }
  void create() {
    PageBytes block{};
    std::memcpy(block.data(), "ECREATE", 8);
    put<std::uint32_t>(block, 8, 1);  // SSAFRAMESIZE
    put<std::uint64_t>(block, 12, ENCLAVE_SIZE);
    update(std::span(block).first(64));
  }
  void add_page(std::uint64_t offset, const ImagePage& page) {
    PageBytes block{};
    std::memcpy(block.data(), "EADD\0\0\0", 8);
    put<std::uint64_t>(block, 8, offset);
    put<std::uint64_t>(block, 16, page.secinfo);
    update(std::span(block).first(64));
    for (std::uint64_t chunk = 0; chunk < kPage; chunk += 256) {
      PageBytes extend{};
      std::memcpy(extend.data(), "EEXTEND", 8);
      put<std::uint64_t>(extend, 8, offset + chunk);
      update(std::span(extend).first(64));
      update(std::span(page.bytes).subspan(chunk, 256));
    }
  }
  std::array<std::uint8_t, 32> finish() {
    std::array<std::uint8_t, 32> hash;
    require(EVP_DigestFinal_ex(digest_.get(), hash.data(), nullptr) == 1, "SHA-256");
    return hash;
  }

 private:
  void update(std::span<const std::uint8_t> bytes) {
    require(EVP_DigestUpdate(digest_.get(), bytes.data(), bytes.size()) == 1, "SHA-256");
  }
  Digest digest_;
};

Key generate_key() {
  const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(
      EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr), EVP_PKEY_CTX_free);
  const Bignum three(BN_new(), BN_free);
  EVP_PKEY* key = nullptr;
  require(context != nullptr && BN_set_word(three.get(), 3) == 1 &&
              EVP_PKEY_keygen_init(context.get()) == 1 &&
              EVP_PKEY_CTX_set_rsa_keygen_bits(context.get(), kRsaSize * 8) == 1 &&
              EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context.get(), three.get()) == 1 &&
              EVP_PKEY_generate(context.get(), &key) == 1,
          "key generation");
  return {key, EVP_PKEY_free};
}

void store(const BIGNUM* number, std::uint8_t* to) {
  require(BN_bn2lebinpad(number, to, kRsaSize) >= 0, "BN_bn2lebinpad");
}

// SIGSTRUCT (SDM Vol. 3D, table 38-19) by its offsets.
constexpr std::size_t kModulus = 128, kExponent = 512, kSignature = 516, kMiscselect = 900, kHash = 960,
                      kQ1 = 1040, kQ2 = 1424;

PageBytes unsigned_sigstruct(const Image& image) {
  constexpr std::array<std::uint8_t, 16> kHeader = {0x06, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 0x01};
  constexpr std::array<std::uint8_t, 16> kHeader2 = {0x01, 0x01, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 0x01};
  Measurement measurement;
  measurement.create();
  for (const auto& [offset, page] : image) measurement.add_page(offset, page);
  const auto hash = measurement.finish();

  PageBytes sigstruct{};
  std::ranges::copy(kHeader, sigstruct.begin());
  std::ranges::copy(kHeader2, sigstruct.begin() + 24);
  put<std::uint32_t>(sigstruct, 20, 0x20260101);  // DATE
  // MISCMASK, ATTRIBUTEMASK and its XFRM are 0: the cells want enclaves of every kind with these pages.
  std::ranges::copy(hash, sigstruct.begin() + kHash);
  return sigstruct;
}

void sign(PageBytes& sigstruct, EVP_PKEY* key) {
  BIGNUM* raw = nullptr;
  require(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &raw) == 1, "reading the modulus");
  const Bignum modulus(raw, BN_free);
  store(modulus.get(), sigstruct.data() + kModulus);
  put<std::uint32_t>(sigstruct, kExponent, 3);

  std::array<std::uint8_t, 256> message;
  std::memcpy(message.data(), sigstruct.data(), 128);
  std::memcpy(message.data() + 128, sigstruct.data() + kMiscselect, 128);
  const Digest context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  std::array<std::uint8_t, kRsaSize> signature;
  std::size_t size = signature.size();
  require(EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key) == 1 &&
              EVP_DigestSign(context.get(), signature.data(), &size, message.data(), message.size()) == 1 &&
              size == kRsaSize,
          "signing");
  std::ranges::reverse_copy(signature, sigstruct.begin() + kSignature);

  // Q1 = floor(S^2 / M), Q2 = floor((S^3 - Q1*S*M) / M) = floor(S * (S^2 mod M) / M)
  const std::unique_ptr<BN_CTX, decltype(&BN_CTX_free)> numbers(BN_CTX_new(), BN_CTX_free);
  const Bignum s(BN_bin2bn(signature.data(), kRsaSize, nullptr), BN_free);
  const Bignum product(BN_new(), BN_free), quotient(BN_new(), BN_free), remainder(BN_new(), BN_free);
  const auto divide = [&] {
    require(BN_div(quotient.get(), remainder.get(), product.get(), modulus.get(), numbers.get()) == 1,
            "division");
  };
  require(BN_sqr(product.get(), s.get(), numbers.get()) == 1, "squaring");
  divide();
  store(quotient.get(), sigstruct.data() + kQ1);
  require(BN_mul(product.get(), s.get(), remainder.get(), numbers.get()) == 1, "multiplication");
  divide();
  store(quotient.get(), sigstruct.data() + kQ2);
}

int run(const char* output) {
  PageBytes sigstruct = unsigned_sigstruct(make_image());
  sign(sigstruct, generate_key().get());
  std::ofstream file(output, std::ios::binary);
  file.write(reinterpret_cast<const char*>(sigstruct.data()), kPage);
  file.close();
  if (!file) throw std::runtime_error(std::string("cannot write ") + output);
  return 0;
}

}  // namespace
}  // namespace enclume::cli::matrix::probe

int main(int argc, char** argv) {
  try {
    if (argc != 2) throw std::runtime_error("usage: enclume_matrix_sign OUTPUT");
    return enclume::cli::matrix::probe::run(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "enclume_matrix_sign: %s\n", error.what());
    return 1;
  }
}
