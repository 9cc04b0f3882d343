// SPDX-License-Identifier: Apache-2.0
#include "arch/identity/page_seal.h"

#include <atomic>
#include <cstring>

#include "arch/identity/keys.h"

namespace enclume::arch {

namespace {

// SDM: IV = version << 32, a 96-bit number.
GcmNonce nonce_of(std::uint64_t version) {
  GcmNonce nonce{};
  std::memcpy(nonce.data() + 4, &version, sizeof(version));
  return nonce;
}

const std::uint8_t* octets(const std::byte* p) {
  return reinterpret_cast<const std::uint8_t*>(p);
}
std::uint8_t* octets(std::byte* p) {
  return reinterpret_cast<std::uint8_t*>(p);
}

struct PagingKey {
  Bytes<32> secret;
  Bytes<32> nonce;
  Block128 key;
  PageCipherKey expanded;
};

constinit PageCipher cipher = PageCipher::Portable;

// To derive the key takes as long as to encrypt a page, and it stays the same from boot to boot. A process
// has one machine. (Tests have several: their keys are made anew each time.)
constinit PagingKey known{};
enum Knowledge : std::uint32_t {
  kNone,
  kBeingMade,
  kKnown
};
constinit std::atomic<std::uint32_t> knowledge{kNone};

PagingKey make_key(const Machine& machine) {
  PagingKey key{machine.config.secret, machine.shared.boot_nonce, paging_key(machine), {}};
  if (cipher != PageCipher::Portable) {
    expand_page_cipher_key(octets(key.key.data()), key.expanded);
  }
  return key;
}

const PagingKey& key_of(const Machine& machine, PagingKey& room) {
  if (knowledge.load(std::memory_order_acquire) == kKnown && known.nonce == machine.shared.boot_nonce &&
      known.secret == machine.config.secret) {
    return known;
  }
  room = make_key(machine);
  std::uint32_t none = kNone;
  if (knowledge.compare_exchange_strong(none, kBeingMade)) {
    known = room;
    knowledge.store(kKnown, std::memory_order_release);
  }
  return room;
}

}  // namespace

void set_page_cipher(PageCipher which) noexcept {
  cipher = which;
  knowledge.store(kNone);
}

Block128 seal_page(const Machine& machine, std::uint64_t version, const SealedPageHeader& header,
                   PageView plain, PageSpan sealed) noexcept {
  PagingKey room;
  const PagingKey& key = key_of(machine, room);
  const GcmNonce nonce = nonce_of(version);
  const ByteView covered = bytes_of(header);
  if (cipher == PageCipher::Portable) {
    return page_gcm_encrypt(key.key, nonce, covered, plain, sealed);
  }
  Block128 mac;
  auto* const encrypt = cipher == PageCipher::Vaes ? &vaes_encrypt_page : &aesni_encrypt_page;
  encrypt(key.expanded, octets(nonce.data()), octets(covered.data()), octets(plain.data()),
          octets(sealed.data()), octets(mac.data()));
  return mac;
}

namespace {

Block128 open_page(const Machine& machine, std::uint64_t version, const SealedPageHeader& header,
                   PageSpan page) {
  PagingKey room;
  const PagingKey& key = key_of(machine, room);
  const GcmNonce nonce = nonce_of(version);
  const ByteView covered = bytes_of(header);
  if (cipher == PageCipher::Portable) {
    return page_gcm_decrypt(key.key, nonce, covered, page);
  }
  Block128 mac;
  auto* const decrypt = cipher == PageCipher::Vaes ? &vaes_decrypt_page : &aesni_decrypt_page;
  decrypt(key.expanded, octets(nonce.data()), octets(covered.data()), octets(page.data()),
          octets(page.data()), octets(mac.data()));
  return mac;
}

}  // namespace

bool unseal_page(const Machine& machine, std::uint64_t version, const SealedPageHeader& header,
                 const Block128& mac, PageSpan page) noexcept {
  if (same_mac(mac, open_page(machine, version, header, page))) {
    return true;
  }
  std::memset(page.data(), 0, page.size());
  return false;
}

}  // namespace enclume::arch
