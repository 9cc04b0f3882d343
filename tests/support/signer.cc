// SPDX-License-Identifier: Apache-2.0
#include "support/signer.h"

#include <openssl/bn.h>

#include <cstring>
#include <memory>
#include <stdexcept>

#include "support/reference_hash.h"
#include "support/test_keys.h"

namespace enclume::test {

namespace {

struct FreeNumber {
  void operator()(BIGNUM* n) const { BN_free(n); }
  void operator()(BN_CTX* c) const { BN_CTX_free(c); }
};
using Number = std::unique_ptr<BIGNUM, FreeNumber>;

void check(bool ok) {
  if (!ok) {
    throw std::runtime_error("OpenSSL big number operation failed");
  }
}

Number make() {
  return Number(BN_new());
}

Number from_hex(const char* hex) {
  BIGNUM* n = nullptr;
  check(BN_hex2bn(&n, hex) > 0);
  return Number(n);
}

Number load(const arch::Bytes<arch::kRsaSize>& bytes) {
  return Number(BN_lebin2bn(reinterpret_cast<const unsigned char*>(bytes.data()),
                            static_cast<int>(bytes.size()), nullptr));
}

void store(const Number& n, arch::Bytes<arch::kRsaSize>& out) {
  check(BN_bn2lebinpad(n.get(), reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size())) ==
        static_cast<int>(out.size()));
}

void set_bytes(std::byte* out, std::initializer_list<unsigned> values) {
  for (const unsigned v : values) {
    *out++ = static_cast<std::byte>(v);
  }
}

}  // namespace

arch::Sigstruct blank_sigstruct() {
  arch::Sigstruct s{};
  set_bytes(s.header.data(), {6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0});
  set_bytes(s.header2.data(), {1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0});
  s.date = 0x20240229;
  s.exponent = 3;
  return s;
}

arch::Bytes<arch::kRsaSize> Signer::pkcs1_block(const arch::Sigstruct& s) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&s);
  arch::Bytes<256> message;
  std::memcpy(message.data(), bytes, 128);
  std::memcpy(message.data() + 128, bytes + 900, 128);
  const arch::Hash256 hash = openssl_sha256(message);

  arch::Bytes<arch::kRsaSize> block;
  block.fill(std::byte{0xff});
  set_bytes(block.data(), {0x00, 0x01});
  set_bytes(block.data() + 332, {0x00, 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48,
                                 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20});
  std::memcpy(block.data() + 352, hash.data(), hash.size());
  return block;
}

void Signer::sign(arch::Sigstruct& s) const {
  sign_block(s, pkcs1_block(s));
}

void Signer::sign_block(arch::Sigstruct& s, std::span<const std::byte, arch::kRsaSize> block) const {
  const std::unique_ptr<BN_CTX, FreeNumber> ctx(BN_CTX_new());
  const Number n = from_hex(kTestKeys.at(key_).modulus);
  const Number d = from_hex(kTestKeys.at(key_).private_exponent);
  const Number m(BN_bin2bn(reinterpret_cast<const unsigned char*>(block.data()),
                           static_cast<int>(block.size()), nullptr));
  const Number signature = make();
  check(BN_mod_exp(signature.get(), m.get(), d.get(), n.get(), ctx.get()) == 1);
  s.exponent = 3;
  store(n, s.modulus);
  store(signature, s.signature);
  fill_quotients(s);
}

void Signer::fill_quotients(arch::Sigstruct& s) {
  const std::unique_ptr<BN_CTX, FreeNumber> ctx(BN_CTX_new());
  const Number n = load(s.modulus);
  const Number signature = load(s.signature);
  const Number product = make();
  const Number quotient = make();
  const Number rest = make();
  check(BN_sqr(product.get(), signature.get(), ctx.get()) == 1);
  check(BN_div(quotient.get(), rest.get(), product.get(), n.get(), ctx.get()) == 1);
  store(quotient, s.q1);
  check(BN_mul(product.get(), rest.get(), signature.get(), ctx.get()) == 1);
  check(BN_div(quotient.get(), rest.get(), product.get(), n.get(), ctx.get()) == 1);
  store(quotient, s.q2);
}

arch::Hash256 Signer::mrsigner() const {
  arch::Bytes<arch::kRsaSize> modulus;
  store(from_hex(kTestKeys.at(key_).modulus), modulus);
  return openssl_sha256(modulus);
}

}  // namespace enclume::test
