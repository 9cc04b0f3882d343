// SPDX-License-Identifier: Apache-2.0
#include "arch/identity/page_seal.h"

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

}  // namespace

Block128 seal_page(const Machine& machine, std::uint64_t version, const SealedPageHeader& header,
                   PageView plain, PageSpan cipher) noexcept {
  return page_gcm_encrypt(paging_key(machine), nonce_of(version), bytes_of(header), plain, cipher);
}

bool unseal_page(const Machine& machine, std::uint64_t version, const SealedPageHeader& header,
                 const Block128& mac, PageSpan page) noexcept {
  if (same_mac(mac, page_gcm_decrypt(paging_key(machine), nonce_of(version), bytes_of(header), page))) {
    return true;
  }
  std::memset(page.data(), 0, page.size());
  return false;
}

}  // namespace enclume::arch
