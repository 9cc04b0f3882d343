// SPDX-License-Identifier: Apache-2.0
// AES-128-GCM over one page with the processor's own instructions for it. A page that goes out and comes back
// costs little else, and libnettle, which has to do with any length and any nonce, takes four times as long.
#pragma once

#include <cstddef>
#include <cstdint>

namespace enclume::arch {

/// What the cipher may use.
enum class PageCipher : std::uint8_t {
  Portable,  ///< whatever libnettle finds
  AesNi,     ///< AES, PCLMULQDQ, SSSE3
  Vaes,      ///< VAES and VPCLMULQDQ on 256 bits, AVX2
};

/// A key with what follows from it, in the form that the instructions want.
struct PageCipherKey {
  static constexpr std::size_t kRoundKeys = 11;
  static constexpr std::size_t kPowers = 16;
  alignas(32) std::uint8_t rounds[kRoundKeys * 16];
  alignas(32) std::uint8_t powers[kPowers * 16];  ///< of the hash key H: H^16 down to H, times x
};

inline constexpr std::size_t kPageHeaderSize = 128;  ///< what the MAC covers besides the page

/// In: `header` is kPageHeaderSize bytes, `nonce` 12, `from` and `to` 4096 each and perhaps the same. Out:
/// the page and a MAC of 16 bytes, which after decryption the caller compares.
using PageCipherFunction = void(const PageCipherKey& key, const std::uint8_t* nonce,
                                const std::uint8_t* header, const std::uint8_t* from, std::uint8_t* to,
                                std::uint8_t* mac);

/// Signal context: safe, all of them, where the processor has what they use.
void expand_page_cipher_key(const std::uint8_t* key, PageCipherKey& expanded);
PageCipherFunction aesni_encrypt_page, aesni_decrypt_page;
PageCipherFunction vaes_encrypt_page, vaes_decrypt_page;

}  // namespace enclume::arch
