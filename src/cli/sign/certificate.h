// SPDX-License-Identifier: Apache-2.0
// A SIGSTRUCT from what it is to say, in one step with the key or in two steps without it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "arch/structs/sigstruct.h"
#include "cli/sign/rsa_key.h"

namespace enclume::cli {

struct CertificateTerms {
  arch::Hash256 mrenclave{};
  std::uint16_t product_id = 0;
  std::uint16_t svn = 0;
  std::uint32_t date = 0;  // BCD yyyymmdd
  std::uint64_t xfrm = 3;
  bool may_debug = true;
};

// The two parts that a signature covers, one behind the other.
using SignedBytes = std::array<std::byte, 2 * arch::kSigstructSignedPart>;

[[nodiscard]] arch::Sigstruct unsigned_certificate(const CertificateTerms& terms);
[[nodiscard]] SignedBytes signed_bytes(const arch::Sigstruct& sigstruct);
// The other way round; nothing if they are no SIGSTRUCT's.
[[nodiscard]] std::optional<arch::Sigstruct> from_signed_bytes(std::span<const std::byte> bytes);

// Puts key, signature and the two quotients in. False: the signature is none of this key over these bytes.
[[nodiscard]] bool complete(arch::Sigstruct& sigstruct, const RsaNumber& modulus, const RsaNumber& signature);

}  // namespace enclume::cli
