// SPDX-License-Identifier: Apache-2.0
#include "arch/identity/signature.h"

#include <gmp.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "arch/identity/crypto.h"
#include "arch/identity/crypto_guard.h"
#include "base/panic.h"

namespace enclume::arch {

namespace {

// Big numbers as GMP has them: little-endian limbs. Stored little endian, they need no conversion.
static_assert(std::endian::native == std::endian::little && sizeof(mp_limb_t) == 8);
constexpr mp_size_t kLimbs = kRsaSize / sizeof(mp_limb_t);
using Number = std::array<mp_limb_t, kLimbs>;
using Product = std::array<mp_limb_t, 2 * kLimbs>;

Number number(const Bytes<kRsaSize>& bytes) {
  return std::bit_cast<Number>(bytes);
}

bool less(const Number& a, const Number& b) {
  return std::lexicographical_compare(a.rbegin(), a.rend(), b.rbegin(), b.rend());
}

Product multiply(const Number& a, const Number& b) {
  std::array<mp_limb_t, 4 * kLimbs> scratch;
  ENCLUME_CHECK(mpn_sec_mul_itch(kLimbs, kLimbs) <= static_cast<mp_size_t>(scratch.size()));
  Product product;
  mpn_sec_mul(product.data(), a.data(), kLimbs, b.data(), kLimbs, scratch.data());
  return product;
}

// a * b mod m, where the caller says what the quotient is. Nothing if it is not the quotient.
std::optional<Number> reduce(const Number& a, const Number& b, const Number& quotient, const Number& m) {
  Product rest = multiply(a, b);
  const Product multiple = multiply(quotient, m);
  const mp_limb_t borrow = mpn_sub_n(rest.data(), rest.data(), multiple.data(), 2 * kLimbs);
  const bool high = std::any_of(rest.begin() + kLimbs, rest.end(), [](mp_limb_t l) { return l != 0; });
  Number remainder;
  std::copy_n(rest.begin(), kLimbs, remainder.begin());
  if (borrow != 0 || high || !less(remainder, m)) {
    return std::nullopt;
  }
  return remainder;
}

// DigestInfo of SHA-256, DER (RFC 8017, section 9.2, note 1).
constexpr std::array<std::uint8_t, 19> kDigestInfo = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60,
                                                      0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
                                                      0x01, 0x05, 0x00, 0x04, 0x20};

constexpr Bytes<kPkcsPaddingSize> make_padding() {
  // Big endian: 00 01 FF…FF 00 DigestInfo; stored the other way round.
  Bytes<kPkcsPaddingSize> padding{};
  for (std::size_t i = 0; i < kDigestInfo.size(); ++i) {
    padding[kDigestInfo.size() - 1 - i] = static_cast<std::byte>(kDigestInfo[i]);
  }
  for (std::size_t i = kDigestInfo.size() + 1; i < padding.size() - 2; ++i) {
    padding[i] = std::byte{0xff};
  }
  padding[padding.size() - 2] = std::byte{0x01};
  return padding;
}
constexpr Bytes<kPkcsPaddingSize> kPadding = make_padding();

constexpr Bytes<16> constant(const std::array<std::uint8_t, 16>& octets) {
  return std::bit_cast<Bytes<16>>(octets);
}
// As they lie in memory (SDM prints them as one big-endian number).
constexpr Bytes<16> kHeader = constant({0x06, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 0x01, 0, 0, 0, 0, 0});
constexpr Bytes<16> kHeader2 = constant({0x01, 0x01, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 0x01, 0, 0, 0});

}  // namespace

Bytes<kPkcsPaddingSize> pkcs1_padding() noexcept {
  return kPadding;
}

bool sigstruct_well_formed(const Sigstruct& s) noexcept {
  return s.header == kHeader && (s.vendor == 0 || s.vendor == kSigstructVendorIntel) &&
         s.header2 == kHeader2 && s.exponent == 3 && all_zero(s.reserved1) && s.cet_attributes == 0 &&
         s.cet_attributes_mask == 0 && all_zero(s.reserved2) && all_zero(s.reserved3) &&
         all_zero(s.reserved4);
}

std::optional<Bytes<kPkcsPaddingSize>> verify_signature(const Sigstruct& s) noexcept {
  const ByteView whole = bytes_of(s);
  const Hash256 hash = sha256({whole.first(kSigstructSignedPart),
                               whole.subspan(offsetof(Sigstruct, miscselect), kSigstructSignedPart)});

  const CryptoGuard guard;
  const Number m = number(s.modulus);
  const Number signature = number(s.signature);
  if (!less(signature, m)) {
    return std::nullopt;
  }
  const auto square = reduce(signature, signature, number(s.q1), m);
  if (!square.has_value()) {
    return std::nullopt;
  }
  const auto cube = reduce(*square, signature, number(s.q2), m);
  if (!cube.has_value()) {
    return std::nullopt;
  }
  const auto block = std::bit_cast<Bytes<kRsaSize>>(*cube);
  Bytes<kPkcsPaddingSize> padding;
  std::copy(block.begin() + sizeof(Hash256), block.end(), padding.begin());
  // The hash is the block's low end, so it is stored backwards.
  if (padding != kPadding || !std::equal(hash.rbegin(), hash.rend(), block.begin())) {
    return std::nullopt;
  }
  return padding;
}

Hash256 signer_of(const Sigstruct& s) noexcept {
  return sha256({s.modulus});
}

}  // namespace enclume::arch
