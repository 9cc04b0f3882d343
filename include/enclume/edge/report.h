// SPDX-License-Identifier: Apache-2.0
// What enclaves of one machine show each other (SDM volume 3D, "Report (REPORT)", "Report Target Info
// (TARGETINFO)"). The host carries them and is believed nothing: a REPORT has a MAC.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace enclume {

using Measurement = std::array<std::byte, 32>;
using ReportData = std::array<std::byte, 64>;

struct Attributes {
  std::uint64_t flags;  ///< kAttribute*
  std::uint64_t xfrm;
  bool operator==(const Attributes&) const = default;
};
inline constexpr std::uint64_t kAttributeInit = 1 << 0, kAttributeDebug = 1 << 1, kAttributeKss = 1 << 7;

/// For whom a REPORT is made: 512 bytes.
struct TargetInfo {
  Measurement mrenclave;
  Attributes attributes;
  std::array<std::byte, 2> reserved1;
  std::uint16_t config_svn;
  std::uint32_t miscselect;
  std::array<std::byte, 8> reserved2;
  std::array<std::byte, 64> config_id;
  std::array<std::byte, 384> reserved3;
  bool operator==(const TargetInfo&) const = default;
};
static_assert(sizeof(TargetInfo) == 512);
static_assert(offsetof(TargetInfo, attributes) == 32 && offsetof(TargetInfo, config_svn) == 50);
static_assert(offsetof(TargetInfo, miscselect) == 52 && offsetof(TargetInfo, config_id) == 64);

struct EnclaveIdentity {
  Measurement mrenclave;
  std::array<std::byte, 32> reserved1;
  Measurement mrsigner;
  std::array<std::byte, 32> reserved2;
  bool operator==(const EnclaveIdentity&) const = default;
};

struct EnclaveVersion {
  std::uint16_t isv_prod_id;
  std::uint16_t isv_svn;
  std::uint16_t config_svn;
  std::array<std::byte, 42> reserved;
  bool operator==(const EnclaveVersion&) const = default;
};

/// The part of a REPORT that its MAC is over: 384 bytes.
struct ReportBody {
  std::array<std::byte, 16> cpu_svn;
  std::uint32_t miscselect;
  std::array<std::byte, 12> reserved;
  std::array<std::byte, 16> isv_ext_prod_id;
  Attributes attributes;
  EnclaveIdentity identity;
  std::array<std::byte, 64> config_id;
  EnclaveVersion version;
  std::array<std::byte, 16> isv_family_id;
  ReportData report_data;
  bool operator==(const ReportBody&) const = default;
};
static_assert(sizeof(ReportBody) == 384);
static_assert(offsetof(ReportBody, attributes) == 48 && offsetof(ReportBody, identity) == 64);
static_assert(offsetof(ReportBody, config_id) == 192 && offsetof(ReportBody, version) == 256);
static_assert(offsetof(ReportBody, isv_family_id) == 304 && offsetof(ReportBody, report_data) == 320);

struct Report {
  ReportBody body;
  std::array<std::byte, 32> key_id;
  std::array<std::byte, 16> mac;
  bool operator==(const Report&) const = default;
};
static_assert(sizeof(Report) == 432 && offsetof(Report, mac) == 416);

}  // namespace enclume
