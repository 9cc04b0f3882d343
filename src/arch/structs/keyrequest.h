// SPDX-License-Identifier: Apache-2.0
// KEYREQUEST: which key an enclave asks for, and what the key shall depend on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "arch/structs/attributes.h"
#include "arch/structs/bytes.h"

namespace enclume::arch {

enum class KeyName : std::uint16_t {
  EinitToken = 0,
  Provision = 1,
  ProvisionSeal = 2,
  Report = 3,
  Seal = 4,
};

/// Bits of KEYPOLICY.
namespace key_policy {
inline constexpr std::uint16_t kMrenclave = 1U << 0;
inline constexpr std::uint16_t kMrsigner = 1U << 1;
inline constexpr std::uint16_t kNoIsvProdId = 1U << 2;  ///< needs KSS, as all below
inline constexpr std::uint16_t kConfigId = 1U << 3;
inline constexpr std::uint16_t kIsvFamilyId = 1U << 4;
inline constexpr std::uint16_t kIsvExtProdId = 1U << 5;
inline constexpr std::uint16_t kKssOnly = kNoIsvProdId | kConfigId | kIsvFamilyId | kIsvExtProdId;
inline constexpr std::uint16_t kReserved = 0xffc0;
}  // namespace key_policy

/// KEYREQUEST, 512 bytes, 512-byte aligned (SDM Vol. 3D, "Key Request (KEYREQUEST)"). Read by EGETKEY.
struct Keyrequest {
  std::uint16_t keyname;  ///< a KeyName, or something unknown
  std::uint16_t keypolicy;
  std::uint16_t isv_svn;
  std::uint8_t cet_attributes_mask;
  Bytes<1> reserved1;
  Bytes<16> cpusvn;
  Attributes attribute_mask;
  Bytes<32> keyid;
  std::uint32_t miscmask;
  std::uint16_t config_svn;
  Bytes<434> reserved2;
};
static_assert(sizeof(Keyrequest) == 512 && std::is_trivially_copyable_v<Keyrequest>);
static_assert(offsetof(Keyrequest, keyname) == 0);
static_assert(offsetof(Keyrequest, keypolicy) == 2);
static_assert(offsetof(Keyrequest, isv_svn) == 4);
static_assert(offsetof(Keyrequest, cet_attributes_mask) == 6);
static_assert(offsetof(Keyrequest, cpusvn) == 8);
static_assert(offsetof(Keyrequest, attribute_mask) == 24);
static_assert(offsetof(Keyrequest, keyid) == 40);
static_assert(offsetof(Keyrequest, miscmask) == 72);
static_assert(offsetof(Keyrequest, config_svn) == 76);
static_assert(offsetof(Keyrequest, reserved2) == 78);
inline constexpr std::uint64_t kKeyrequestAlignment = 512;

}  // namespace enclume::arch
