// SPDX-License-Identifier: Apache-2.0
// X25519 (RFC 7748): Diffie-Hellman on Curve25519. No branch and no address depends on a secret.
#pragma once

#include <array>
#include <cstddef>

namespace enclume::enclave {

using X25519Key = std::array<std::byte, 32>;

/// scalar · point, both as they stand in messages.
void x25519(X25519Key& result, const X25519Key& scalar, const X25519Key& point) noexcept;
/// scalar · 9: the public key of a secret one.
void x25519_public(X25519Key& result, const X25519Key& scalar) noexcept;

}  // namespace enclume::enclave
