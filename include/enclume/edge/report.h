// SPDX-License-Identifier: Apache-2.0
// What enclaves of one machine show each other (SDM volume 3D, "Report (REPORT)", "Report Target Info
// (TARGETINFO)"). The host carries them and is believed nothing: a REPORT has a MAC.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace enclume {

/// MRENCLAVE or MRSIGNER: SHA-256.
using Measurement = std::array<std::byte, 32>;
/// What a REPORT carries for whoever asked for it.
using ReportData = std::array<std::byte, 64>;

/// SECS.ATTRIBUTES: 16 bytes.
struct Attributes {
  std::uint64_t flags;  ///< kAttribute*
  std::uint64_t xfrm;   ///< the extended states that the enclave may use
  bool operator==(const Attributes&) const = default;
};
inline constexpr std::uint64_t kAttributeInit = 1 << 0;   ///< initialised, as all that can report
inline constexpr std::uint64_t kAttributeDebug = 1 << 1;  ///< everybody can look into it
inline constexpr std::uint64_t kAttributeKss =
    1 << 7;  ///< key separation and sharing: CONFIGID and its kin count

/// For whom a REPORT is made: 512 bytes.
struct TargetInfo {
  Measurement mrenclave;                 ///< of the enclave that shall verify it
  Attributes attributes;                 ///< its ATTRIBUTES
  std::array<std::byte, 2> reserved1;    ///< 0
  std::uint16_t config_svn;              ///< its CONFIGSVN
  std::uint32_t miscselect;              ///< its MISCSELECT
  std::array<std::byte, 8> reserved2;    ///< 0
  std::array<std::byte, 64> config_id;   ///< its CONFIGID
  std::array<std::byte, 384> reserved3;  ///< 0
  bool operator==(const TargetInfo&) const = default;
};
static_assert(sizeof(TargetInfo) == 512);
static_assert(offsetof(TargetInfo, attributes) == 32 && offsetof(TargetInfo, config_svn) == 50);
static_assert(offsetof(TargetInfo, miscselect) == 52 && offsetof(TargetInfo, config_id) == 64);

/// Whose code it is: 128 bytes.
struct EnclaveIdentity {
  Measurement mrenclave;                ///< of what was loaded
  std::array<std::byte, 32> reserved1;  ///< 0
  Measurement mrsigner;                 ///< of the signer's key
  std::array<std::byte, 32> reserved2;  ///< 0
  bool operator==(const EnclaveIdentity&) const = default;
};

/// Which product and version of its signer's: 48 bytes.
struct EnclaveVersion {
  std::uint16_t isv_prod_id;           ///< ISVPRODID
  std::uint16_t isv_svn;               ///< ISVSVN
  std::uint16_t config_svn;            ///< CONFIGSVN
  std::array<std::byte, 42> reserved;  ///< 0
  bool operator==(const EnclaveVersion&) const = default;
};

/// The part of a REPORT that its MAC is over: 384 bytes.
struct ReportBody {
  std::array<std::byte, 16> cpu_svn;          ///< security version of the processor
  std::uint32_t miscselect;                   ///< MISCSELECT
  std::array<std::byte, 12> reserved;         ///< 0
  std::array<std::byte, 16> isv_ext_prod_id;  ///< with KSS
  Attributes attributes;                      ///< ATTRIBUTES
  EnclaveIdentity identity;                   ///< MRENCLAVE, MRSIGNER
  std::array<std::byte, 64> config_id;        ///< with KSS
  EnclaveVersion version;                     ///< ISVPRODID, ISVSVN, CONFIGSVN
  std::array<std::byte, 16> isv_family_id;    ///< with KSS
  ReportData report_data;                     ///< the reporting enclave's own words
  bool operator==(const ReportBody&) const = default;
};
static_assert(sizeof(ReportBody) == 384);
static_assert(offsetof(ReportBody, attributes) == 48 && offsetof(ReportBody, identity) == 64);
static_assert(offsetof(ReportBody, config_id) == 192 && offsetof(ReportBody, version) == 256);
static_assert(offsetof(ReportBody, isv_family_id) == 304 && offsetof(ReportBody, report_data) == 320);

/// What EREPORT makes: 432 bytes.
struct Report {
  ReportBody body;                   ///< who speaks, and what it says
  std::array<std::byte, 32> key_id;  ///< which report key
  std::array<std::byte, 16> mac;     ///< CMAC of the body, by a key that only the target can have
  bool operator==(const Report&) const = default;
};
static_assert(sizeof(Report) == 432 && offsetof(Report, mac) == 416);

}  // namespace enclume
