// SPDX-License-Identifier: Apache-2.0
// AES-128-GCM (NIST SP 800-38D) and AES-128-CMAC (SP 800-38B) by AES-NI and PCLMULQDQ: no tables, no branch
// that depends on a secret. What was in memory of keys is wiped; what an interrupt saves of registers is in
// the enclave's SSA.
#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace enclume::enclave {

using AesBlock = std::array<std::byte, 16>;
using AesKey = std::array<std::byte, 16>;
using GcmNonce = std::array<std::byte, 12>;

/// Whether the instructions give the right answer to a question with a known one. On a processor without them
/// it raises #UD.
[[nodiscard]] bool aes_gives_known_answer() noexcept;

/// Encrypts `data` to `out`, of the same size, which may be the same bytes. What is authenticated beside them
/// is `header`, of whole blocks, followed by `additional`. At most 64 GiB of data, and never a second time
/// with the same key and nonce.
[[nodiscard]] AesBlock gcm_encrypt(const AesKey& key, const GcmNonce& nonce,
                                   std::span<const std::byte> header, std::span<const std::byte> additional,
                                   std::span<const std::byte> data, std::byte* out) noexcept;

/// The reverse; false, with `out` untouched, if anything differs. Reads `data` twice: nobody may change them
/// meanwhile.
[[nodiscard]] bool gcm_decrypt(const AesKey& key, const GcmNonce& nonce, std::span<const std::byte> header,
                               std::span<const std::byte> additional, std::span<const std::byte> data,
                               const AesBlock& tag, std::byte* out) noexcept;

[[nodiscard]] AesBlock cmac(const AesKey& key, std::span<const std::byte> data) noexcept;

}  // namespace enclume::enclave
