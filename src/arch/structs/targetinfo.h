// SPDX-License-Identifier: Apache-2.0
// TARGETINFO: whom a report is for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "arch/structs/attributes.h"
#include "arch/structs/bytes.h"

namespace enclume::arch {

/// TARGETINFO, 512 bytes, 512-byte aligned (SDM Vol. 3D, "Report Target Info (TARGETINFO)"). Read by
/// EREPORT.
struct Targetinfo {
  Hash256 measurement;
  Attributes attributes;
  std::uint8_t cet_attributes;
  Bytes<1> reserved1;
  std::uint16_t config_svn;
  std::uint32_t miscselect;
  Bytes<8> reserved2;
  Bytes<64> config_id;
  Bytes<384> reserved3;
};
static_assert(sizeof(Targetinfo) == 512 && std::is_trivially_copyable_v<Targetinfo>);
static_assert(offsetof(Targetinfo, measurement) == 0);
static_assert(offsetof(Targetinfo, attributes) == 32);
static_assert(offsetof(Targetinfo, cet_attributes) == 48);
static_assert(offsetof(Targetinfo, config_svn) == 50);
static_assert(offsetof(Targetinfo, miscselect) == 52);
static_assert(offsetof(Targetinfo, reserved2) == 56);
static_assert(offsetof(Targetinfo, config_id) == 64);
static_assert(offsetof(Targetinfo, reserved3) == 128);
inline constexpr std::uint64_t kTargetinfoAlignment = 512;

}  // namespace enclume::arch
