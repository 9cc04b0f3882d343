// SPDX-License-Identifier: Apache-2.0
// The page cipher on single blocks, and the expansion of its keys. Compiled for AES, PCLMULQDQ and SSSE3.
#include <immintrin.h>

#include "arch/identity/page_cipher.h"

namespace enclume::arch {

namespace {

struct Wide {
  static constexpr int kLanes = 1;
  __m128i v = _mm_setzero_si128();

  static Wide from(const std::uint8_t* bytes) {
    return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes))};
  }
  void to(std::uint8_t* bytes) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes), v); }
  static Wide all(__m128i block) { return {block}; }
  static Wide lowest(__m128i block) { return {block}; }
  /// `block` + `add` as a 32-bit number in the lowest place.
  static Wide ascending(__m128i block, int add) {
    return {_mm_add_epi32(block, _mm_set_epi32(0, 0, 0, add))};
  }
  [[nodiscard]] Wide next() const { return ascending(v, 1); }
  [[nodiscard]] Wide turned() const {
    return {_mm_shuffle_epi8(v, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))};
  }
  [[nodiscard]] Wide aes(Wide key) const { return {_mm_aesenc_si128(v, key.v)}; }
  [[nodiscard]] Wide aes_last(Wide key) const { return {_mm_aesenclast_si128(v, key.v)}; }
  template <int kHalves>
  [[nodiscard]] Wide times(Wide other) const {
    return {_mm_clmulepi64_si128(v, other.v, kHalves)};
  }
  [[nodiscard]] __m128i fold() const { return v; }
  friend Wide operator^(Wide a, Wide b) { return {_mm_xor_si128(a.v, b.v)}; }
  Wide& operator^=(Wide other) { return *this = *this ^ other; }
};

#include "arch/identity/page_cipher.inc"

// FIPS 197, KeyExpansion(), a round key a step.
template <int kConstant>
__m128i next_round_key(__m128i key) {
  const __m128i assist = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(key, kConstant), 0xff);
  key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
  key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
  return _mm_xor_si128(key, assist);
}

// A block, turned round, times x.
__m128i times_x(__m128i block) {
  const __m128i polynomial =
      _mm_set_epi64x(static_cast<long long>(0xc200'0000'0000'0000), 1);  // with the bit that comes round
  const __m128i carries = _mm_srli_epi64(block, 63);
  const __m128i doubled = _mm_or_si128(_mm_slli_epi64(block, 1), _mm_slli_si128(carries, 8));
  const __m128i top = _mm_shuffle_epi32(_mm_srai_epi32(block, 31), 0xff);
  return _mm_xor_si128(doubled, _mm_and_si128(top, polynomial));
}

}  // namespace

void expand_page_cipher_key(const std::uint8_t* key, PageCipherKey& expanded) {
  __m128i round[PageCipherKey::kRoundKeys];
  round[0] = load(key);
  round[1] = next_round_key<0x01>(round[0]);
  round[2] = next_round_key<0x02>(round[1]);
  round[3] = next_round_key<0x04>(round[2]);
  round[4] = next_round_key<0x08>(round[3]);
  round[5] = next_round_key<0x10>(round[4]);
  round[6] = next_round_key<0x20>(round[5]);
  round[7] = next_round_key<0x40>(round[6]);
  round[8] = next_round_key<0x80>(round[7]);
  round[9] = next_round_key<0x1b>(round[8]);
  round[10] = next_round_key<0x36>(round[9]);
  __m128i h = round[0];
  for (int i = 1; i < kRounds; ++i) h = _mm_aesenc_si128(h, round[i]);
  h = _mm_aesenclast_si128(h, round[kRounds]);
  for (int i = 0; i <= kRounds; ++i) store(expanded.rounds + i * 16, round[i]);

  const __m128i first = times_x(turn(h));
  __m128i power = first;
  for (int i = kGroup - 1; i >= 0; --i) {
    store(expanded.powers + i * 16, power);
    Product product{};
    add_product(product, Wide::lowest(power), Wide::lowest(first));
    power = reduce(product);
  }
}

void aesni_encrypt_page(const PageCipherKey& key, const std::uint8_t* nonce, const std::uint8_t* header,
                        const std::uint8_t* from, std::uint8_t* to, std::uint8_t* mac) {
  encrypt_page(key, nonce, header, from, to, mac);
}

void aesni_decrypt_page(const PageCipherKey& key, const std::uint8_t* nonce, const std::uint8_t* header,
                        const std::uint8_t* from, std::uint8_t* to, std::uint8_t* mac) {
  decrypt_page(key, nonce, header, from, to, mac);
}

}  // namespace enclume::arch
