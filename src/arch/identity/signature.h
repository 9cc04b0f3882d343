// SPDX-License-Identifier: Apache-2.0
// SIGSTRUCT's signature: RSA-3072 with exponent 3, PKCS#1 v1.5 padding, SHA-256.
#pragma once

#include <cstddef>
#include <optional>

#include "arch/structs/bytes.h"
#include "arch/structs/sigstruct.h"

namespace enclume::arch {

/// What encodes the hash in a signature, without the hash: the upper 352 bytes of the PKCS#1 block, little
/// endian (SDM: HARDCODED_PKCS1_5_PADDING; RFC 8017, section 9.2).
inline constexpr std::size_t kPkcsPaddingSize = kRsaSize - sizeof(Hash256);
[[nodiscard]] Bytes<kPkcsPaddingSize> pkcs1_padding() noexcept;

/// Whether HEADER, VENDOR, HEADER2, EXPONENT and the reserved fields are as they must be.
/// Signal context: safe.
[[nodiscard]] bool sigstruct_well_formed(const Sigstruct&) noexcept;

/// The padding of the verified block, which EINIT keeps in the SECS; nothing if the signature, Q1 or Q2 is
/// wrong. All three are checked as the processor does, by two multiplications and no division:
///   R1 = S * S - Q1 * M,  R2 = R1 * S - Q2 * M,  both in [0, M);  R2 is the block.
/// Signal context: safe, takes 4 KiB of stack.
[[nodiscard]] std::optional<Bytes<kPkcsPaddingSize>> verify_signature(const Sigstruct&) noexcept;

/// MRSIGNER of a key: SHA-256 over MODULUS as it is stored. Signal context: safe.
[[nodiscard]] Hash256 signer_of(const Sigstruct&) noexcept;

}  // namespace enclume::arch
