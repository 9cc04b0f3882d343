// SPDX-License-Identifier: Apache-2.0
// REPORT: an enclave's identity, authenticated for another enclave on the same machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "arch/structs/attributes.h"
#include "arch/structs/bytes.h"

namespace enclume::arch {

/// REPORT, 432 bytes, 512-byte aligned (SDM Vol. 3D, "REPORT"). The MAC covers the first 384 bytes.
/// Written by EREPORT.
struct Report {
  Bytes<16> cpusvn;
  std::uint32_t miscselect;
  std::uint8_t cet_attributes;
  Bytes<11> reserved1;
  Bytes<16> isv_ext_prod_id;
  Attributes attributes;
  Hash256 mrenclave;
  Bytes<32> reserved2;
  Hash256 mrsigner;
  Bytes<32> reserved3;
  Bytes<64> config_id;
  std::uint16_t isv_prod_id;
  std::uint16_t isv_svn;
  std::uint16_t config_svn;
  Bytes<42> reserved4;
  Bytes<16> isv_family_id;
  Bytes<64> report_data;
  Bytes<32> keyid;
  Block128 mac;
};
static_assert(sizeof(Report) == 432 && std::is_trivially_copyable_v<Report>);
static_assert(offsetof(Report, cpusvn) == 0);
static_assert(offsetof(Report, miscselect) == 16);
static_assert(offsetof(Report, cet_attributes) == 20);
static_assert(offsetof(Report, isv_ext_prod_id) == 32);
static_assert(offsetof(Report, attributes) == 48);
static_assert(offsetof(Report, mrenclave) == 64);
static_assert(offsetof(Report, mrsigner) == 128);
static_assert(offsetof(Report, config_id) == 192);
static_assert(offsetof(Report, isv_prod_id) == 256);
static_assert(offsetof(Report, isv_svn) == 258);
static_assert(offsetof(Report, config_svn) == 260);
static_assert(offsetof(Report, reserved4) == 262);
static_assert(offsetof(Report, isv_family_id) == 304);
static_assert(offsetof(Report, report_data) == 320);
static_assert(offsetof(Report, keyid) == 384);
static_assert(offsetof(Report, mac) == 416);
inline constexpr std::uint64_t kReportAlignment = 512;
inline constexpr std::uint64_t kReportdataAlignment = 128;
inline constexpr std::size_t kReportMacedSize = 384;

}  // namespace enclume::arch
