// SPDX-License-Identifier: Apache-2.0
// SIGSTRUCT: the enclave's certificate, signed by its author.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "arch/structs/attributes.h"
#include "arch/structs/bytes.h"

namespace enclume::arch {

inline constexpr std::size_t kRsaSize = 384;  ///< RSA-3072, in bytes

/// SIGSTRUCT, 1808 bytes, page aligned (SDM Vol. 3D, "Enclave Signature Structure (SIGSTRUCT)"; Linux
/// asm/sgx.h `struct sgx_sigstruct`). Big numbers are little endian. Read by EINIT.
struct Sigstruct {
  Bytes<16> header;
  std::uint32_t vendor;
  std::uint32_t date;  ///< BCD yyyymmdd
  Bytes<16> header2;
  std::uint32_t swdefined;
  Bytes<84> reserved1;
  Bytes<kRsaSize> modulus;
  std::uint32_t exponent;
  Bytes<kRsaSize> signature;
  std::uint32_t miscselect;
  std::uint32_t miscmask;
  std::uint8_t cet_attributes;
  std::uint8_t cet_attributes_mask;
  Bytes<2> reserved2;
  Bytes<16> isv_family_id;
  Attributes attributes;
  Attributes attribute_mask;
  Hash256 enclave_hash;
  Bytes<16> reserved3;
  Bytes<16> isv_ext_prod_id;
  std::uint16_t isv_prod_id;
  std::uint16_t isv_svn;
  Bytes<12> reserved4;
  Bytes<kRsaSize> q1;  ///< floor(S^2 / M)
  Bytes<kRsaSize> q2;  ///< floor((S^3 - q1 * S * M) / M)
};
static_assert(sizeof(Sigstruct) == 1808 && std::is_trivially_copyable_v<Sigstruct>);
static_assert(offsetof(Sigstruct, header) == 0);
static_assert(offsetof(Sigstruct, vendor) == 16);
static_assert(offsetof(Sigstruct, date) == 20);
static_assert(offsetof(Sigstruct, header2) == 24);
static_assert(offsetof(Sigstruct, swdefined) == 40);
static_assert(offsetof(Sigstruct, reserved1) == 44);
static_assert(offsetof(Sigstruct, modulus) == 128);
static_assert(offsetof(Sigstruct, exponent) == 512);
static_assert(offsetof(Sigstruct, signature) == 516);
static_assert(offsetof(Sigstruct, miscselect) == 900);
static_assert(offsetof(Sigstruct, miscmask) == 904);
static_assert(offsetof(Sigstruct, cet_attributes) == 908);
static_assert(offsetof(Sigstruct, cet_attributes_mask) == 909);
static_assert(offsetof(Sigstruct, isv_family_id) == 912);
static_assert(offsetof(Sigstruct, attributes) == 928);
static_assert(offsetof(Sigstruct, attribute_mask) == 944);
static_assert(offsetof(Sigstruct, enclave_hash) == 960);
static_assert(offsetof(Sigstruct, reserved3) == 992);
static_assert(offsetof(Sigstruct, isv_ext_prod_id) == 1008);
static_assert(offsetof(Sigstruct, isv_prod_id) == 1024);
static_assert(offsetof(Sigstruct, isv_svn) == 1026);
static_assert(offsetof(Sigstruct, reserved4) == 1028);
static_assert(offsetof(Sigstruct, q1) == 1040);
static_assert(offsetof(Sigstruct, q2) == 1424);

/// The signature covers the 128 bytes before MODULUS and the 128 bytes from MISCSELECT to ISVSVN.
inline constexpr std::size_t kSigstructSignedPart = 128;
static_assert(offsetof(Sigstruct, modulus) == kSigstructSignedPart);
static_assert(offsetof(Sigstruct, reserved4) - offsetof(Sigstruct, miscselect) == kSigstructSignedPart);

inline constexpr std::uint32_t kSigstructVendorIntel = 0x8086;

}  // namespace enclume::arch
