// SPDX-License-Identifier: Apache-2.0
// What the processor does for sealing and attestation. Everything above this works with another
// implementation of it, too, such as the tests'.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "enclume/edge/report.h"
#include "runtime/enclave/aes.h"

namespace enclume::enclave {

// KEYREQUEST.KEYNAME, KEYPOLICY (SDM volume 3D, "Key Request (KEYREQUEST)").
inline constexpr std::uint16_t kReportKey = 3, kSealKey = 4;
inline constexpr std::uint16_t kPolicyMrenclave = 1, kPolicyMrsigner = 2, kPolicyConfigId = 8,
                               kPolicyFamilyId = 0x10, kPolicyExtProdId = 0x20;
// EGETKEY's codes in RAX.
inline constexpr std::uint32_t kInvalidCpuSvn = 32, kInvalidIsvSvn = 64;

struct KeyRequest {
  std::uint16_t name;
  std::uint16_t policy;
  std::uint16_t isv_svn;
  std::array<std::byte, 2> reserved1;
  std::array<std::byte, 16> cpu_svn;
  Attributes attribute_mask;
  std::array<std::byte, 32> key_id;
  std::uint32_t miscmask;
  std::uint16_t config_svn;
  std::array<std::byte, 434> reserved2;
};
static_assert(sizeof(KeyRequest) == 512 && offsetof(KeyRequest, cpu_svn) == 8);
static_assert(offsetof(KeyRequest, key_id) == 40 && offsetof(KeyRequest, config_svn) == 76);

/// EGETKEY. What RAX says: 0, and `key`, or why not.
[[nodiscard]] std::uint32_t get_key(const KeyRequest& request, AesKey& key) noexcept;

/// EREPORT. The reserved bytes of `target` must be zero.
[[nodiscard]] Report make_report(const TargetInfo& target, const ReportData& data) noexcept;

/// What EREPORT says of this enclave, which stays the same as long as there is the enclave: asked for once.
[[nodiscard]] ReportBody own_report() noexcept;

/// Overwrites the stack below the caller, where functions that it has called may have left parts of keys.
void wipe_stack() noexcept;

/// The first object of a function that handles keys: when it goes, all others have gone.
struct WipedStack {
  WipedStack() = default;
  ~WipedStack() { wipe_stack(); }
  WipedStack(const WipedStack&) = delete;
  WipedStack& operator=(const WipedStack&) = delete;
};

/// By RDRAND. False if it gives nothing, ten times in a row, or twice the same, as some processors have done
/// after a suspend.
[[nodiscard]] bool random_bytes(std::span<std::byte> to) noexcept;

/// Whether aes.h can be used. Tried out: CPUID may not be executed here, and what the host says of the
/// processor need not be true.
[[nodiscard]] bool has_aes() noexcept;

/// Whether all of these bytes are the enclave's own.
[[nodiscard]] bool is_inside(std::span<const std::byte> bytes) noexcept;

}  // namespace enclume::enclave
