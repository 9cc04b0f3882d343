// SPDX-License-Identifier: Apache-2.0
#include "arch/identity/crypto.h"

#include <nettle/cmac.h>
#include <nettle/gcm.h>
#include <nettle/sha2.h>

#include "arch/identity/crypto_guard.h"

namespace enclume::arch {

namespace {

const std::uint8_t* octets(const std::byte* p) {
  return reinterpret_cast<const std::uint8_t*>(p);
}
std::uint8_t* octets(std::byte* p) {
  return reinterpret_cast<std::uint8_t*>(p);
}

void gcm_begin(gcm_aes128_ctx& ctx, const Block128& key, const GcmNonce& nonce, ByteView header) {
  gcm_aes128_set_key(&ctx, octets(key.data()));
  gcm_aes128_set_iv(&ctx, nonce.size(), octets(nonce.data()));
  gcm_aes128_update(&ctx, header.size(), octets(header.data()));
}

Block128 gcm_end(gcm_aes128_ctx& ctx) {
  Block128 mac;
  gcm_aes128_digest(&ctx, mac.size(), octets(mac.data()));
  return mac;
}

}  // namespace

Hash256 sha256(std::initializer_list<ByteView> parts) noexcept {
  const CryptoGuard guard;
  sha256_ctx ctx;
  sha256_init(&ctx);
  for (const ByteView part : parts) {
    sha256_update(&ctx, part.size(), octets(part.data()));
  }
  Hash256 digest;
  sha256_digest(&ctx, digest.size(), octets(digest.data()));
  return digest;
}

Block128 aes_cmac(const Block128& key, ByteView message) noexcept {
  const CryptoGuard guard;
  cmac_aes128_ctx ctx;
  cmac_aes128_set_key(&ctx, octets(key.data()));
  cmac_aes128_update(&ctx, message.size(), octets(message.data()));
  Block128 mac;
  cmac_aes128_digest(&ctx, mac.size(), octets(mac.data()));
  return mac;
}

bool same_mac(const Block128& a, const Block128& b) noexcept {
  std::byte difference{0};
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |= a[i] ^ b[i];
  }
  return difference == std::byte{0};
}

Block128 page_gcm_encrypt(const Block128& key, const GcmNonce& nonce, ByteView header, PageView plain,
                          PageSpan cipher) noexcept {
  const CryptoGuard guard;
  gcm_aes128_ctx ctx;
  gcm_begin(ctx, key, nonce, header);
  gcm_aes128_encrypt(&ctx, plain.size(), octets(cipher.data()), octets(plain.data()));
  return gcm_end(ctx);
}

Block128 page_gcm_decrypt(const Block128& key, const GcmNonce& nonce, ByteView header,
                          PageSpan page) noexcept {
  const CryptoGuard guard;
  gcm_aes128_ctx ctx;
  gcm_begin(ctx, key, nonce, header);
  gcm_aes128_decrypt(&ctx, page.size(), octets(page.data()), octets(page.data()));
  return gcm_end(ctx);
}

}  // namespace enclume::arch
