// SPDX-License-Identifier: Apache-2.0
// Compiled for processors with AES-NI, PCLMULQDQ and SSSE3: nothing here runs before the caller knows of
// them.
#include "runtime/enclave/aes.h"

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "runtime/enclave/wipe.h"

namespace enclume::enclave {
namespace {

constexpr std::size_t kBlock = 16;
// So many at a time as keep the AES unit busy.
constexpr std::size_t kWide = 8;
constexpr int kRounds = 10;

__m128i load(const std::byte* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
void store(std::byte* to, __m128i value) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), value);
}
// Between the order of bytes in memory and a big-endian number.
__m128i swap_bytes(__m128i value) {
  return _mm_shuffle_epi8(value, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}
// Up to 16 bytes, with zeros behind them.
__m128i load_part(std::span<const std::byte> part) {
  AesBlock block{};
  if (!part.empty()) std::memcpy(block.data(), part.data(), part.size());
  return load(block.data());
}

class Cipher {
 public:
  explicit Cipher(const AesKey& key) {
    round_[0] = load(key.data());
    expand<1, 0x01>();
    expand<2, 0x02>();
    expand<3, 0x04>();
    expand<4, 0x08>();
    expand<5, 0x10>();
    expand<6, 0x20>();
    expand<7, 0x40>();
    expand<8, 0x80>();
    expand<9, 0x1b>();
    expand<10, 0x36>();
  }
  ~Cipher() { wipe(this, sizeof *this); }
  Cipher(const Cipher&) = delete;
  Cipher& operator=(const Cipher&) = delete;

  template <std::size_t kCount>
  void encrypt(__m128i (&blocks)[kCount]) const {
    for (__m128i& block : blocks) block = _mm_xor_si128(block, round_[0]);
    for (int round = 1; round < kRounds; ++round) {
      for (__m128i& block : blocks) block = _mm_aesenc_si128(block, round_[round]);
    }
    for (__m128i& block : blocks) block = _mm_aesenclast_si128(block, round_[kRounds]);
  }
  [[nodiscard]] __m128i encrypt(__m128i block) const {
    __m128i blocks[1] = {block};
    encrypt(blocks);
    return blocks[0];
  }

 private:
  // FIPS 197, section 5.2: each word is the one four before it, changed by the last of the round before.
  template <int kRound, int kConstant>
  void expand() {
    __m128i words = round_[kRound - 1];
    const __m128i last = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(words, kConstant), 0xff);
    for (int i = 0; i < 3; ++i) words = _mm_xor_si128(words, _mm_slli_si128(words, 4));
    round_[kRound] = _mm_xor_si128(words, last);
  }

  __m128i round_[kRounds + 1];
};

// GHASH. A block, read as a big-endian number, has the coefficient of x^0 in its highest bit, so as a
// polynomial in y = 1/x the bits stand as PCLMULQDQ wants them. With h' = y·h the product a·h is a·h'/y^128
// modulo y^128 + y^127 + y^126 + y^121 + 1: a Montgomery reduction, by 64 bits at a time, whose multiplier is
// the low word itself, since the low 64 bits of the modulus are 1.
class Ghash {
 public:
  explicit Ghash(__m128i h) {
    powers_[0] = times_y(swap_bytes(h));
    for (std::size_t i = 1; i < kWide; ++i) {
      Sum sum;
      sum.add(powers_[i - 1], powers_[0]);
      powers_[i] = sum.reduced();
    }
  }
  ~Ghash() { wipe(this, sizeof *this); }
  Ghash(const Ghash&) = delete;
  Ghash& operator=(const Ghash&) = delete;

  void add_block(__m128i block) {
    Sum sum;
    sum.add(_mm_xor_si128(state_, swap_bytes(block)), powers_[0]);
    state_ = sum.reduced();
  }
  // With one reduction.
  void add_wide(const __m128i (&blocks)[kWide]) {
    Sum sum;
    sum.add(_mm_xor_si128(state_, swap_bytes(blocks[0])), powers_[kWide - 1]);
    for (std::size_t i = 1; i < kWide; ++i) sum.add(swap_bytes(blocks[i]), powers_[kWide - 1 - i]);
    state_ = sum.reduced();
  }
  // Padded with zeros to whole blocks.
  void add(std::span<const std::byte> data) {
    for (; data.size() >= kWide * kBlock; data = data.subspan(kWide * kBlock)) {
      __m128i blocks[kWide];
      for (std::size_t i = 0; i < kWide; ++i) blocks[i] = load(data.data() + i * kBlock);
      add_wide(blocks);
    }
    for (; data.size() >= kBlock; data = data.subspan(kBlock)) add_block(load(data.data()));
    if (!data.empty()) add_block(load_part(data));
  }
  [[nodiscard]] __m128i result() const { return swap_bytes(state_); }

 private:
  // Products that have not been reduced.
  struct Sum {
    __m128i low = _mm_setzero_si128(), middle = _mm_setzero_si128(), high = _mm_setzero_si128();
    void add(__m128i a, __m128i b) {
      low = _mm_xor_si128(low, _mm_clmulepi64_si128(a, b, 0x00));
      high = _mm_xor_si128(high, _mm_clmulepi64_si128(a, b, 0x11));
      middle = _mm_xor_si128(middle, _mm_xor_si128(_mm_clmulepi64_si128(a, b, 0x10),  //
                                                   _mm_clmulepi64_si128(a, b, 0x01)));
    }
    [[nodiscard]] __m128i reduced() const {
      const __m128i modulus = _mm_set_epi64x(0, kModulusHigh);
      __m128i rest = _mm_xor_si128(low, _mm_slli_si128(middle, 8));
      for (int i = 0; i < 2; ++i) {
        const __m128i product = _mm_clmulepi64_si128(rest, modulus, 0x00);
        rest = _mm_xor_si128(_mm_shuffle_epi32(rest, 0x4e), product);
      }
      return _mm_xor_si128(_mm_xor_si128(high, _mm_srli_si128(middle, 8)), rest);
    }
  };

  static constexpr long long kModulusHigh = static_cast<long long>(0xc200'0000'0000'0000);

  static __m128i times_y(__m128i value) {
    const __m128i carries = _mm_slli_si128(_mm_srli_epi64(value, 63), 8);
    const __m128i overflow = _mm_shuffle_epi32(_mm_srai_epi32(value, 31), 0xff);
    const __m128i shifted = _mm_or_si128(_mm_slli_epi64(value, 1), carries);
    return _mm_xor_si128(shifted, _mm_and_si128(overflow, _mm_set_epi64x(kModulusHigh, 1)));
  }

  __m128i powers_[kWide];  // y·h^1 and on
  __m128i state_ = _mm_setzero_si128();
};

class Gcm {
 public:
  Gcm(const AesKey& key, const GcmNonce& nonce) : cipher_(key), ghash_(cipher_.encrypt(_mm_setzero_si128())) {
    AesBlock first{};
    std::memcpy(first.data(), nonce.data(), nonce.size());
    first.back() = std::byte{1};
    counter_ = swap_bytes(load(first.data()));
    mask_ = cipher_.encrypt(next_counter());
  }
  ~Gcm() { wipe(&mask_, sizeof mask_); }
  Gcm(const Gcm&) = delete;
  Gcm& operator=(const Gcm&) = delete;

  void authenticate(std::span<const std::byte> data) { ghash_.add(data); }

  // The stream over `data` to `out`, and, if told so, what comes out into the hash.
  template <bool kHashOutput>
  void crypt(std::span<const std::byte> data, std::byte* out) {
    for (; data.size() >= kWide * kBlock; data = data.subspan(kWide * kBlock), out += kWide * kBlock) {
      __m128i blocks[kWide];
      for (__m128i& block : blocks) block = next_counter();
      cipher_.encrypt(blocks);
      for (std::size_t i = 0; i < kWide; ++i) {
        blocks[i] = _mm_xor_si128(blocks[i], load(data.data() + i * kBlock));
        store(out + i * kBlock, blocks[i]);
      }
      if (kHashOutput) ghash_.add_wide(blocks);
    }
    while (!data.empty()) {
      const std::size_t bytes = data.size() < kBlock ? data.size() : kBlock;
      AesBlock block;
      store(block.data(), _mm_xor_si128(cipher_.encrypt(next_counter()), load_part(data.first(bytes))));
      std::memcpy(out, block.data(), bytes);
      if (kHashOutput) ghash_.add(std::span<const std::byte>(block).first(bytes));
      wipe(&block, sizeof block);
      data = data.subspan(bytes);
      out += bytes;
    }
  }

  [[nodiscard]] AesBlock tag(std::size_t authenticated, std::size_t encrypted) {
    // SP 800-38D, 7.1 step 5: both lengths in bits, big-endian.
    ghash_.add_block(swap_bytes(
        _mm_set_epi64x(static_cast<long long>(authenticated * 8), static_cast<long long>(encrypted * 8))));
    AesBlock tag;
    store(tag.data(), _mm_xor_si128(ghash_.result(), mask_));
    return tag;
  }

 private:
  __m128i next_counter() {
    const __m128i block = swap_bytes(counter_);
    counter_ = _mm_add_epi32(counter_, _mm_set_epi32(0, 0, 0, 1));
    return block;
  }

  Cipher cipher_;
  Ghash ghash_;
  __m128i counter_;
  __m128i mask_;
};

// SP 800-38B, 6.1: times x, where a block's first bit is the highest power.
__m128i times_x(__m128i block) {
  const __m128i value = swap_bytes(block);
  const __m128i carries = _mm_slli_si128(_mm_srli_epi64(value, 63), 8);
  const __m128i overflow = _mm_shuffle_epi32(_mm_srai_epi32(value, 31), 0xff);
  const __m128i shifted = _mm_or_si128(_mm_slli_epi64(value, 1), carries);
  return swap_bytes(_mm_xor_si128(shifted, _mm_and_si128(overflow, _mm_set_epi64x(0, 0x87))));
}

}  // namespace

AesBlock gcm_encrypt(const AesKey& key, const GcmNonce& nonce, std::span<const std::byte> header,
                     std::span<const std::byte> additional, std::span<const std::byte> data,
                     std::byte* out) noexcept {
  Gcm gcm(key, nonce);
  gcm.authenticate(header);
  gcm.authenticate(additional);
  gcm.crypt<true>(data, out);
  return gcm.tag(header.size() + additional.size(), data.size());
}

bool gcm_decrypt(const AesKey& key, const GcmNonce& nonce, std::span<const std::byte> header,
                 std::span<const std::byte> additional, std::span<const std::byte> data, const AesBlock& tag,
                 std::byte* out) noexcept {
  Gcm gcm(key, nonce);
  gcm.authenticate(header);
  gcm.authenticate(additional);
  gcm.authenticate(data);
  const AesBlock expected = gcm.tag(header.size() + additional.size(), data.size());
  if (!same_bytes(expected.data(), tag.data(), tag.size())) return false;
  gcm.crypt<false>(data, out);
  return true;
}

AesBlock cmac(const AesKey& key, std::span<const std::byte> data) noexcept {
  const Cipher cipher(key);
  __m128i subkey = times_x(cipher.encrypt(_mm_setzero_si128()));
  __m128i state = _mm_setzero_si128();
  for (; data.size() > kBlock; data = data.subspan(kBlock)) {
    state = cipher.encrypt(_mm_xor_si128(state, load(data.data())));
  }
  AesBlock last{};
  if (!data.empty()) std::memcpy(last.data(), data.data(), data.size());
  if (data.size() < kBlock) {
    last[data.size()] = std::byte{0x80};
    subkey = times_x(subkey);
  }
  state = cipher.encrypt(_mm_xor_si128(_mm_xor_si128(state, subkey), load(last.data())));
  AesBlock result;
  store(result.data(), state);
  return result;
}

bool aes_gives_known_answer() noexcept {
  // Test case 2 of "The Galois/Counter Mode of Operation" (McGrew, Viega): key, nonce and data are zeros.
  constexpr unsigned char kAnswer[] = {0x03, 0x88, 0xda, 0xce, 0x60, 0xb6, 0xa3, 0x92, 0xf3, 0x28, 0xc2,
                                       0xb9, 0x71, 0xb2, 0xfe, 0x78, 0xab, 0x6e, 0x47, 0xd4, 0x2c, 0xec,
                                       0x13, 0xbd, 0xf5, 0x3a, 0x67, 0xb2, 0x12, 0x57, 0xbd, 0xdf};
  AesBlock answer[2];
  const AesBlock zeros{};
  answer[1] = gcm_encrypt({}, {}, {}, {}, zeros, answer[0].data());
  return same_bytes(answer, kAnswer, sizeof kAnswer);
}

}  // namespace enclume::enclave
