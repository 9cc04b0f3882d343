// SPDX-License-Identifier: Apache-2.0
// EINITTOKEN: a launch enclave's permission for an enclave to be initialised.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "arch/structs/attributes.h"
#include "arch/structs/bytes.h"

namespace enclume::arch {

/// EINITTOKEN, 304 bytes, 512-byte aligned (SDM Vol. 3D, "EINIT Token Structure (EINITTOKEN)"). The MAC
/// covers the first 192 bytes. Read by EINIT.
struct Einittoken {
  std::uint32_t valid;  ///< bit 0; the rest is reserved
  Bytes<44> reserved1;
  Attributes attributes;
  Hash256 mrenclave;
  Bytes<32> reserved2;
  Hash256 mrsigner;
  Bytes<32> reserved3;
  Bytes<16> cpusvn_le;
  std::uint16_t isv_prod_id_le;
  std::uint16_t isv_svn_le;
  Bytes<24> reserved4;
  std::uint32_t masked_miscselect_le;
  Attributes masked_attributes_le;
  Bytes<32> keyid;
  Block128 mac;
};
static_assert(sizeof(Einittoken) == 304 && std::is_trivially_copyable_v<Einittoken>);
static_assert(offsetof(Einittoken, valid) == 0);
static_assert(offsetof(Einittoken, attributes) == 48);
static_assert(offsetof(Einittoken, mrenclave) == 64);
static_assert(offsetof(Einittoken, mrsigner) == 128);
static_assert(offsetof(Einittoken, cpusvn_le) == 192);
static_assert(offsetof(Einittoken, isv_prod_id_le) == 208);
static_assert(offsetof(Einittoken, isv_svn_le) == 210);
static_assert(offsetof(Einittoken, reserved4) == 212);
static_assert(offsetof(Einittoken, masked_miscselect_le) == 236);
static_assert(offsetof(Einittoken, masked_attributes_le) == 240);
static_assert(offsetof(Einittoken, keyid) == 256);
static_assert(offsetof(Einittoken, mac) == 288);
inline constexpr std::uint64_t kEinittokenAlignment = 512;
inline constexpr std::size_t kEinittokenMacedSize = 192;

}  // namespace enclume::arch
