// SPDX-License-Identifier: Apache-2.0
// Sealing: data that leave the enclave so that it, or those of its signer, can have them back on the same
// machine, and nobody else can read or change them.
//
//   std::vector<std::byte> sealed(enclume::sealed_size(data.size()));
//   const auto done = enclume::seal(data, label, enclume::SealPolicy::kSigner, sealed);
//   if (!done) …done.error()…
//
// AES-128-GCM with a key that EGETKEY makes for this one time: KEYID and nonce are random. What goes into the
// key: the enclave's MRENCLAVE or MRSIGNER, its ISVPRODID, whether it is a debug enclave, its ISVSVN and the
// processor's CPUSVN at the time of sealing; with KSS also CONFIGID and CONFIGSVN, the family and extended
// product IDs. Not XFRM and not the other attributes, which a loader may have to choose by the machine.
//
// What it does not give: the host can keep old sealed data and present them again, or none. Whoever must
// notice needs a counter that the host cannot turn back.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include "enclume/edge/error.h"

namespace enclume {

/// Who can unseal.
enum class SealPolicy : std::uint16_t {
  kEnclave = 1,  ///< this enclave alone (MRENCLAVE): a new build cannot
  kSigner = 2,   ///< enclaves of the same signer and ISVPRODID, and no lower ISVSVN
};

/// What sealed data begin with, little-endian; the encrypted data stand behind it. All but the tag is
/// authenticated, and then the additional data.
struct SealedHeader {
  std::array<char, 8> magic;           ///< kSealedMagic
  std::uint32_t format;                ///< kSealedFormat
  std::uint16_t policy;                ///< KEYPOLICY
  std::uint16_t isv_prod_id;           ///< of the sealing enclave, as all that follow
  std::uint16_t isv_svn;               ///< KEYREQUEST.ISVSVN
  std::uint16_t config_svn;            ///< KEYREQUEST.CONFIGSVN; 0 without KSS
  std::uint32_t reserved1;             ///< 0
  std::uint64_t attributes;            ///< those bits of ATTRIBUTES that the key depends on
  std::uint64_t data_size;             ///< bytes
  std::uint64_t additional_size;       ///< bytes
  std::array<std::byte, 16> cpu_svn;   ///< KEYREQUEST.CPUSVN
  std::array<std::byte, 32> key_id;    ///< KEYREQUEST.KEYID, random
  std::array<std::byte, 32> identity;  ///< MRENCLAVE or MRSIGNER, so that a wrong one can be told
  std::array<std::byte, 12> nonce;     ///< random
  std::uint32_t reserved2;             ///< 0
  std::array<std::byte, 16> tag;       ///< of AES-128-GCM
};
static_assert(sizeof(SealedHeader) == 160 && offsetof(SealedHeader, cpu_svn) == 48);
static_assert(offsetof(SealedHeader, identity) == 96 && offsetof(SealedHeader, tag) == 144);
/// SealedHeader::magic
inline constexpr std::array<char, 8> kSealedMagic = {'E', 'n', 'c', 'S', 'e', 'a', 'l', '\0'};
/// SealedHeader::format
inline constexpr std::uint32_t kSealedFormat = 1;

/// Most that can be sealed at once, and most additional data.
inline constexpr std::size_t kMaxSealedData = std::size_t{1} << 30;

/// Bytes that so many bytes of data take when they are sealed.
[[nodiscard]] constexpr std::size_t sealed_size(std::size_t data_size) noexcept {
  return sizeof(SealedHeader) + data_size;
}
/// Bytes of data in these; 0 if they are too few to say. Unproven: the host may have written anything there.
[[nodiscard]] std::size_t unsealed_size(std::span<const std::byte> sealed) noexcept;

/// Seals `data` into the front of `out`, and gives that part. `additional` is not stored; unseal() must be
/// given the same. All must be the enclave's own memory, and `out` apart from the others: what the host can
/// reach, it can change while it is read. Errors: kTooBig, kNoRoom, kBadRange, kNoCryptography,
/// kNoRandomness, kNoKey.
[[nodiscard]] std::expected<std::span<std::byte>, Error> seal(std::span<const std::byte> data,
                                                              std::span<const std::byte> additional,
                                                              SealPolicy policy,
                                                              std::span<std::byte> out) noexcept;

/// The data, in the front of `out`, which no error touches. Data that an earlier version of the enclave has
/// sealed are as good as its own, unless `least_svn` asks for more. Errors: kNotSealed, kNewerFormat,
/// kWrongSize, kNoRoom, kBadRange, kNoCryptography; kWrongEnclave, kWrongSigner, kWrongProduct, kWrongMode;
/// kNewerEnclave, kNewerConfiguration, kNewerProcessor, kOlderEnclave; kNoKey; kAltered. All but the last say
/// what the sealed data claim, to help who looks for a mistake: an attacker who changes them can choose which
/// one it is.
[[nodiscard]] std::expected<std::span<std::byte>, Error> unseal(std::span<const std::byte> sealed,
                                                                std::span<const std::byte> additional,
                                                                std::span<std::byte> out,
                                                                std::uint16_t least_svn = 0) noexcept;

}  // namespace enclume
