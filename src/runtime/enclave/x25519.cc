// SPDX-License-Identifier: Apache-2.0
#include "runtime/enclave/x25519.h"

#include <cstdint>
#include <cstring>

#include "runtime/enclave/wipe.h"

namespace enclume::enclave {
namespace {

__extension__ using Wide = unsigned __int128;

// An element of GF(2^255 − 19) as five limbs of 51 bits, each of which may grow to 54 bits before a product.
struct Element {
  std::uint64_t limb[5];
};
constexpr std::uint64_t kMask = (std::uint64_t{1} << 51) - 1;
constexpr int kLimbs = 5;

Element operator+(const Element& a, const Element& b) {
  Element r;
  for (int i = 0; i < kLimbs; ++i) r.limb[i] = a.limb[i] + b.limb[i];
  return r;
}

// a − b + 4p, so that no limb is negative while those of b are below 2^53 − 76.
Element operator-(const Element& a, const Element& b) {
  constexpr std::uint64_t kFour0 = 4 * (kMask - 18), kFour = 4 * kMask;
  Element r;
  for (int i = 0; i < kLimbs; ++i) r.limb[i] = a.limb[i] + (i == 0 ? kFour0 : kFour) - b.limb[i];
  return r;
}

// From sums of products to limbs of 51 bits, the second a little more.
Element carried(Wide (&sum)[kLimbs]) {
  Element r;
  for (int i = 0; i < kLimbs - 1; ++i) {
    sum[i + 1] += sum[i] >> 51;
    r.limb[i] = static_cast<std::uint64_t>(sum[i]) & kMask;
  }
  r.limb[4] = static_cast<std::uint64_t>(sum[4]) & kMask;
  // 2^255 = 19.
  const Wide low = r.limb[0] + 19 * (sum[4] >> 51);
  r.limb[0] = static_cast<std::uint64_t>(low) & kMask;
  r.limb[1] += static_cast<std::uint64_t>(low >> 51);
  return r;
}

Element operator*(const Element& a, const Element& b) {
  Wide sum[kLimbs] = {};
  for (int i = 0; i < kLimbs; ++i) {
    for (int j = 0; j < kLimbs; ++j) {
      const bool over = i + j >= kLimbs;
      sum[over ? i + j - kLimbs : i + j] += Wide{a.limb[i]} * (over ? 19 * b.limb[j] : b.limb[j]);
    }
  }
  return carried(sum);
}

Element times(const Element& a, std::uint64_t factor) {
  Wide sum[kLimbs];
  for (int i = 0; i < kLimbs; ++i) sum[i] = Wide{a.limb[i]} * factor;
  return carried(sum);
}

Element squared(Element a, int times_over) {
  while (times_over-- > 0) a = a * a;
  return a;
}

// a^(p − 2), p − 2 = 2^255 − 21.
Element inverse(const Element& a) {
  const Element a2 = a * a;
  const Element a9 = squared(a2, 2) * a;
  const Element a11 = a9 * a2;
  const Element ones5 = squared(a11, 1) * a9;  // a^(2^5 − 1), and so on
  const Element ones10 = squared(ones5, 5) * ones5;
  const Element ones20 = squared(ones10, 10) * ones10;
  const Element ones40 = squared(ones20, 20) * ones20;
  const Element ones50 = squared(ones40, 10) * ones10;
  const Element ones100 = squared(ones50, 50) * ones50;
  const Element ones200 = squared(ones100, 100) * ones100;
  const Element ones250 = squared(ones200, 50) * ones50;
  return squared(ones250, 5) * a11;
}

// `swap`: 0 or 1.
void swap_if(std::uint64_t swap, Element& a, Element& b) {
  const std::uint64_t mask = ~swap + 1;
  for (int i = 0; i < kLimbs; ++i) {
    const std::uint64_t both = mask & (a.limb[i] ^ b.limb[i]);
    a.limb[i] ^= both;
    b.limb[i] ^= both;
  }
}

std::uint64_t word_at(const X25519Key& bytes, std::size_t offset) {
  std::uint64_t word;
  std::memcpy(&word, bytes.data() + offset, sizeof word);
  return word;
}

// Little-endian; the highest bit is ignored (RFC 7748, section 5).
Element decode(const X25519Key& bytes) {
  return {{word_at(bytes, 0) & kMask, word_at(bytes, 6) >> 3 & kMask, word_at(bytes, 12) >> 6 & kMask,
           word_at(bytes, 19) >> 1 & kMask, word_at(bytes, 24) >> 12 & kMask}};
}

void encode(Element value, X25519Key& bytes) {
  auto& limb = value.limb;
  // Twice, after which only limb 0 could be 2^51 or a little more; and once more with 19 added, so that what
  // is p or more shows by its carry.
  for (int pass = 0; pass < 2; ++pass) {
    for (int i = 0; i < kLimbs - 1; ++i) {
      limb[i + 1] += limb[i] >> 51;
      limb[i] &= kMask;
    }
    limb[0] += 19 * (limb[4] >> 51);
    limb[4] &= kMask;
  }
  std::uint64_t carry = 19;
  for (const std::uint64_t part : limb) carry = (part + carry) >> 51;
  limb[0] += 19 * carry;
  for (int i = 0; i < kLimbs - 1; ++i) {
    limb[i + 1] += limb[i] >> 51;
    limb[i] &= kMask;
  }
  limb[4] &= kMask;
  const std::uint64_t words[4] = {limb[0] | limb[1] << 51, limb[1] >> 13 | limb[2] << 38,
                                  limb[2] >> 26 | limb[3] << 25, limb[3] >> 39 | limb[4] << 12};
  std::memcpy(bytes.data(), words, sizeof words);
}

// The Montgomery ladder of RFC 7748, section 5, and its names.
struct Ladder {
  Element x1, x2, z2, x3, z3;

  void step() {
    const Element a = x2 + z2, aa = a * a;
    const Element b = x2 - z2, bb = b * b;
    const Element e = aa - bb;
    const Element da = (x3 - z3) * a, cb = (x3 + z3) * b;
    const Element sum = da + cb, difference = da - cb;
    x3 = sum * sum;
    z3 = x1 * (difference * difference);
    x2 = aa * bb;
    z2 = e * (aa + times(e, 121665));
  }
};

}  // namespace

void x25519(X25519Key& result, const X25519Key& scalar, const X25519Key& point) noexcept {
  Wiped<X25519Key> bits;
  bits.value = scalar;
  bits.value[0] &= std::byte{248};
  bits.value[31] = (bits.value[31] & std::byte{127}) | std::byte{64};

  const Element x1 = decode(point);
  Wiped<Ladder> ladder;
  ladder.value = {x1, {{1}}, {{0}}, x1, {{1}}};
  std::uint64_t swapped = 0;
  for (int i = 254; i >= 0; --i) {
    const auto index = static_cast<std::size_t>(i);
    const auto bit = std::to_integer<std::uint64_t>(bits.value[index / 8]) >> (index % 8) & 1;
    swap_if(swapped ^ bit, ladder.value.x2, ladder.value.x3);
    swap_if(swapped ^ bit, ladder.value.z2, ladder.value.z3);
    swapped = bit;
    ladder.value.step();
  }
  swap_if(swapped, ladder.value.x2, ladder.value.x3);
  swap_if(swapped, ladder.value.z2, ladder.value.z3);
  encode(ladder.value.x2 * inverse(ladder.value.z2), result);
}

void x25519_public(X25519Key& result, const X25519Key& scalar) noexcept {
  constexpr X25519Key kBase{std::byte{9}};
  x25519(result, scalar, kBase);
}

}  // namespace enclume::enclave
