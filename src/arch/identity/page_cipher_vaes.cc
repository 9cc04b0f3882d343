// SPDX-License-Identifier: Apache-2.0
// The page cipher on vectors of two blocks. Compiled for VAES, VPCLMULQDQ and AVX2.
#include <immintrin.h>

#include "arch/identity/page_cipher.h"

namespace enclume::arch {

namespace {

struct Wide {
  static constexpr int kLanes = 2;
  __m256i v = _mm256_setzero_si256();

  static Wide from(const std::uint8_t* bytes) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes))};
  }
  void to(std::uint8_t* bytes) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes), v); }
  static Wide all(__m128i block) { return {_mm256_broadcastsi128_si256(block)}; }
  static Wide lowest(__m128i block) { return {_mm256_zextsi128_si256(block)}; }
  /// `block` + `add`, `block` + `add` + 1, … as 32-bit numbers in the lowest place.
  static Wide ascending(__m128i block, int add) {
    return {_mm256_add_epi32(all(block).v, _mm256_set_epi32(0, 0, 0, add + 1, 0, 0, 0, add))};
  }
  [[nodiscard]] Wide next() const {
    return {_mm256_add_epi32(v, _mm256_set_epi32(0, 0, 0, kLanes, 0, 0, 0, kLanes))};
  }
  [[nodiscard]] Wide turned() const {
    return {_mm256_shuffle_epi8(v, _mm256_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1,
                                                   2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))};
  }
  [[nodiscard]] Wide aes(Wide key) const { return {_mm256_aesenc_epi128(v, key.v)}; }
  [[nodiscard]] Wide aes_last(Wide key) const { return {_mm256_aesenclast_epi128(v, key.v)}; }
  template <int kHalves>
  [[nodiscard]] Wide times(Wide other) const {
    return {_mm256_clmulepi64_epi128(v, other.v, kHalves)};
  }
  [[nodiscard]] __m128i fold() const {
    return _mm_xor_si128(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  }
  friend Wide operator^(Wide a, Wide b) { return {_mm256_xor_si256(a.v, b.v)}; }
  Wide& operator^=(Wide other) { return *this = *this ^ other; }
};

#include "arch/identity/page_cipher.inc"

}  // namespace

void vaes_encrypt_page(const PageCipherKey& key, const std::uint8_t* nonce, const std::uint8_t* header,
                       const std::uint8_t* from, std::uint8_t* to, std::uint8_t* mac) {
  encrypt_page(key, nonce, header, from, to, mac);
}

void vaes_decrypt_page(const PageCipherKey& key, const std::uint8_t* nonce, const std::uint8_t* header,
                       const std::uint8_t* from, std::uint8_t* to, std::uint8_t* mac) {
  decrypt_page(key, nonce, header, from, to, mac);
}

}  // namespace enclume::arch
