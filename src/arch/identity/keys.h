// SPDX-License-Identifier: Apache-2.0
// Keys: what EGETKEY, EREPORT and EINIT derive, and from what (SDM Vol. 3D, EGETKEY, "Key derivation").
//
// Intel publishes the inputs of the derivation, not the function. Here:
//   key  = AES-128-CMAC(root, KeyDependencies)
//   root = first 16 bytes of SHA-256("enclume key root" || purpose || machine secret)
// with purpose a word for each use, so that no two uses share a root. None of these keys can be taken for a
// real processor's: the root lies in a file of the user's.
// Signal context: safe for all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "arch/machine.h"
#include "arch/structs/attributes.h"
#include "arch/structs/bytes.h"
#include "arch/structs/einittoken.h"
#include "arch/structs/keyrequest.h"
#include "arch/structs/report.h"
#include "arch/structs/secs.h"
#include "arch/structs/targetinfo.h"

namespace enclume::arch {

/// TMP_KEYDEPENDENCIES of the SDM's pseudocode, in our own fixed layout, without gaps: 768 bytes.
struct KeyDependencies {
  std::uint16_t keyname;
  std::uint16_t keypolicy;
  std::uint16_t isv_prod_id;
  std::uint16_t isv_svn;
  std::uint16_t config_svn;
  std::uint16_t zero;
  std::uint32_t miscselect;
  std::uint32_t miscmask;
  std::uint32_t zero2;
  Attributes attributes;
  Attributes attribute_mask;
  Bytes<8> zero3;
  Bytes<16> owner_epoch;
  Bytes<16> seal_fuses;
  Bytes<16> cpusvn;
  Hash256 mrenclave;
  Hash256 mrsigner;
  Bytes<32> keyid;
  Bytes<64> config_id;
  Bytes<16> isv_family_id;
  Bytes<16> isv_ext_prod_id;
  Bytes<112> zero4;
  Bytes<352> padding;
};
static_assert(sizeof(KeyDependencies) == 768 && std::is_trivially_copyable_v<KeyDependencies>);
static_assert(std::has_unique_object_representations_v<KeyDependencies>, "padding bytes would be random");

/// The derivation itself.
[[nodiscard]] Block128 derive_key(const MachineConfig&, const KeyDependencies&) noexcept;

/// What each key that EGETKEY gives depends on, for an enclave and a request that EGETKEY has checked.
/// `request.keyname` is one of KeyName.
[[nodiscard]] KeyDependencies key_dependencies(const MachineConfig&, Secs&,
                                               const Keyrequest& request) noexcept;

/// EGETKEY's result.
[[nodiscard]] Block128 requested_key(const MachineConfig&, Secs&, const Keyrequest& request) noexcept;

/// The key under which EREPORT makes a MAC for `target`: what EGETKEY(REPORT) gives the target.
/// `secs` is the reporting enclave's (its PADDING is the constant that every initialised enclave has).
[[nodiscard]] Block128 report_key(const MachineConfig&, Secs& secs, const Targetinfo& target,
                                  const Bytes<32>& keyid) noexcept;

/// REPORT.MAC.
[[nodiscard]] Block128 report_mac(const Block128& key, const Report&) noexcept;

/// The key of the MAC of an EINITTOKEN: what EGETKEY(EINITTOKEN) gave the launch enclave that made it.
[[nodiscard]] Block128 launch_key(const MachineConfig&, const LePubKeyHash&, const Einittoken&) noexcept;

/// EINITTOKEN.MAC.
[[nodiscard]] Block128 token_mac(const Block128& key, const Einittoken&) noexcept;

/// CR_REPORT_KEYID: chosen anew at each boot.
[[nodiscard]] Bytes<32> report_keyid(const Machine&) noexcept;

/// CR_BASE_PK: protects evicted pages; chosen anew at each boot.
[[nodiscard]] Block128 paging_key(const Machine&) noexcept;

/// Whether every component of `asked` is at most that of the processor's CPUSVN: "CPUSVN beyond current" is
/// compared byte by byte, each a security version of its own.
[[nodiscard]] bool cpusvn_reached(const MachineConfig&, const Bytes<16>& asked) noexcept;

}  // namespace enclume::arch
