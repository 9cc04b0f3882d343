// SPDX-License-Identifier: Apache-2.0
#include "cli/sign/certificate.h"

#include <gmp.h>

#include <algorithm>
#include <cstring>

#include "arch/identity/signature.h"
#include "arch/structs/attributes.h"

namespace enclume::cli {
namespace {

constexpr std::uint64_t kInit = 1, kDebug = 2, kMode64 = 4;

class Number {
 public:
  Number() { mpz_init(value_); }
  explicit Number(const RsaNumber& bytes) : Number() {
    mpz_import(value_, bytes.size(), -1, 1, 0, 0, bytes.data());
  }
  ~Number() { mpz_clear(value_); }
  Number(const Number&) = delete;
  Number& operator=(const Number&) = delete;

  operator mpz_ptr() { return value_; }  // NOLINT: stands for it in GMP's calls

  // False if it is too long.
  bool write(std::span<std::byte> to) {
    if (mpz_sizeinbase(value_, 2) > to.size() * 8) return false;
    std::ranges::fill(to, std::byte{0});
    mpz_export(to.data(), nullptr, -1, 1, 0, 0, value_);
    return true;
  }

 private:
  mpz_t value_;
};

}  // namespace

arch::Sigstruct unsigned_certificate(const CertificateTerms& terms) {
  static constexpr unsigned char kHeader[16] = {0x06, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 0x01, 0, 0, 0, 0, 0};
  static constexpr unsigned char kHeader2[16] = {0x01, 0x01, 0, 0, 0x60, 0, 0, 0,
                                                 0x60, 0,    0, 0, 0x01, 0, 0, 0};
  arch::Sigstruct s{};
  std::memcpy(&s.header, kHeader, sizeof kHeader);
  std::memcpy(&s.header2, kHeader2, sizeof kHeader2);
  s.date = terms.date;
  // MISCSELECT is the loader's choice: EXINFO where the processor has it.
  s.miscmask = 0;
  s.attributes = {kMode64, terms.xfrm};
  s.attribute_mask = {~(kInit | (terms.may_debug ? kDebug : 0)), ~std::uint64_t{0}};
  s.enclave_hash = terms.mrenclave;
  s.isv_prod_id = terms.product_id;
  s.isv_svn = terms.svn;
  return s;
}

SignedBytes signed_bytes(const arch::Sigstruct& sigstruct) {
  SignedBytes bytes;
  const auto all = std::as_bytes(std::span(&sigstruct, 1));
  constexpr std::size_t kPart = arch::kSigstructSignedPart;
  std::ranges::copy(all.first(kPart), bytes.begin());
  std::ranges::copy(all.subspan(offsetof(arch::Sigstruct, miscselect), kPart), bytes.begin() + kPart);
  return bytes;
}

std::optional<arch::Sigstruct> from_signed_bytes(std::span<const std::byte> bytes) {
  if (bytes.size() != sizeof(SignedBytes)) return std::nullopt;
  arch::Sigstruct sigstruct{};
  constexpr std::size_t kPart = arch::kSigstructSignedPart;
  auto* const raw = reinterpret_cast<std::byte*>(&sigstruct);
  std::ranges::copy(bytes.first(kPart), raw);
  std::ranges::copy(bytes.subspan(kPart), raw + offsetof(arch::Sigstruct, miscselect));
  const arch::Sigstruct model = unsigned_certificate({});
  if (sigstruct.header != model.header || sigstruct.header2 != model.header2) return std::nullopt;
  return sigstruct;
}

bool complete(arch::Sigstruct& sigstruct, const RsaNumber& modulus, const RsaNumber& signature) {
  std::memcpy(&sigstruct.modulus, modulus.data(), modulus.size());
  std::memcpy(&sigstruct.signature, signature.data(), signature.size());
  sigstruct.exponent = 3;
  // Q1 = floor(S^2 / M), Q2 = floor((S^2 mod M) * S / M).
  Number s(signature), m(modulus), product, quotient, rest;
  if (mpz_sgn(static_cast<mpz_ptr>(m)) == 0 || mpz_cmp(s, m) >= 0) return false;
  mpz_mul(product, s, s);
  mpz_fdiv_qr(quotient, rest, product, m);
  if (!quotient.write(std::as_writable_bytes(std::span(&sigstruct.q1, 1)))) return false;
  mpz_mul(product, rest, s);
  mpz_fdiv_q(quotient, product, m);
  if (!quotient.write(std::as_writable_bytes(std::span(&sigstruct.q2, 1)))) return false;
  return arch::verify_signature(sigstruct).has_value();
}

}  // namespace enclume::cli
