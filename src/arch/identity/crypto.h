// SPDX-License-Identifier: Apache-2.0
// The cryptographic primitives that the processor uses, on libnettle without allocation.
// Signal context: safe for all of them, given the hooks of crypto_guard.h; page_gcm_* take 5 KiB of stack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "arch/structs/bytes.h"
#include "base/types.h"

namespace enclume::arch {

using ByteView = std::span<const std::byte>;

/// SHA-256 over the parts one after the other (FIPS 180-4).
[[nodiscard]] Hash256 sha256(std::initializer_list<ByteView> parts) noexcept;

/// AES-128-CMAC (NIST SP 800-38B).
[[nodiscard]] Block128 aes_cmac(const Block128& key, ByteView message) noexcept;

/// Compares without telling by time where two MACs differ.
[[nodiscard]] bool same_mac(const Block128& a, const Block128& b) noexcept;

using GcmNonce = Bytes<12>;
using PageView = std::span<const std::byte, kPageSize>;
using PageSpan = std::span<std::byte, kPageSize>;

/// AES-128-GCM (NIST SP 800-38D) over one page; returns the MAC of header and ciphertext. `plain` and
/// `cipher` may be the same page.
[[nodiscard]] Block128 page_gcm_encrypt(const Block128& key, const GcmNonce& nonce, ByteView header,
                                        PageView plain, PageSpan cipher) noexcept;

/// Decrypts `page` where it lies and returns the MAC that it should have come with. The caller compares it
/// before it uses the page.
[[nodiscard]] Block128 page_gcm_decrypt(const Block128& key, const GcmNonce& nonce, ByteView header,
                                        PageSpan page) noexcept;

}  // namespace enclume::arch
