// SPDX-License-Identifier: Apache-2.0
// What CPUID says on a processor with SGX: the machine's own answers, with the SGX leaves laid over them.
// Sources: SDM Vol. 3D, "Detecting and Enumerating Intel SGX" (CPUID.12H); SDM Vol. 2A, CPUID (leaves 0, 7);
// Linux asm/cpufeatures.h for the newer bits of 12H.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "arch/machine.h"
#include "arch/structs/attributes.h"

namespace enclume::arch {

struct CpuidResult {
  std::uint32_t eax = 0;
  std::uint32_t ebx = 0;
  std::uint32_t ecx = 0;
  std::uint32_t edx = 0;

  friend constexpr bool operator==(const CpuidResult&, const CpuidResult&) = default;
};

/// Leaf numbers and bits of the SGX enumeration.
namespace cpuid {
inline constexpr std::uint32_t kLeafMaximum = 0;
inline constexpr std::uint32_t kLeafFeatures = 7;
inline constexpr std::uint32_t kLeafSgx = 0x12;
inline constexpr std::uint32_t kFirstHypervisorLeaf = 0x4000'0000;
inline constexpr std::uint32_t kSubleafSgxCapabilities = 0;
inline constexpr std::uint32_t kSubleafSgxAttributes = 1;
inline constexpr std::uint32_t kFirstEpcSubleaf = 2;

inline constexpr std::uint32_t kFeatureSgx = 1U << 2;     ///< 7.0:EBX
inline constexpr std::uint32_t kFeatureSgxLc = 1U << 30;  ///< 7.0:ECX, launch control
inline constexpr std::uint32_t kSgx1 = 1U << 0;           ///< 12.0:EAX
inline constexpr std::uint32_t kSgx2 = 1U << 1;
inline constexpr std::uint32_t kEdeccssa = 1U << 11;

inline constexpr std::uint32_t kEpcSectionPresent = 1;    ///< 12.n:EAX[3:0]
inline constexpr std::uint32_t kEpcSectionProtected = 1;  ///< 12.n:ECX[3:0]: confidentiality and integrity
}  // namespace cpuid

/// A physical range of enclave page cache. Both are multiples of 4096; only bits 51:12 can be shown.
struct EpcSection {
  std::uint64_t base = 0;
  std::uint64_t size = 0;
};

/// What the SGX leaves shall say.
struct CpuidProfile {
  std::uint32_t machine_max_basic_leaf = 0;  ///< CPUID.0:EAX of the machine underneath
  bool sgx2 = true;
  bool edeccssa = false;  ///< ENCLU[EDECCSSA]; goes with ATTRIBUTES.AEXNOTIFY
  std::uint32_t misc_supported = 0;
  Attributes attributes_supported{};  ///< flags and XFRM that an enclave may set
  std::uint8_t max_size_log2_32 = 0;
  std::uint8_t max_size_log2_64 = 0;
  std::span<const EpcSection> epc;  ///< must outlive the profile
};

/// The profile of a machine; `epc` must outlive it. INIT is EINIT's to set, so it is never shown as settable.
/// Signal context: safe.
[[nodiscard]] CpuidProfile cpuid_profile(const MachineConfig&, std::uint32_t machine_max_basic_leaf,
                                         std::span<const EpcSection> epc) noexcept;

/// The virtual answer for (leaf, subleaf). `raw` is the machine's own answer to the same question; it is
/// passed through for everything that SGX doesn't touch. Leaves between the machine's own maximum and the one
/// that SGX needs are all zero, as for a feature that a processor lacks, whatever `raw` holds (an Intel
/// processor answers them with its highest leaf). Signal context: safe.
[[nodiscard]] CpuidResult sgx_cpuid(const CpuidProfile&, std::uint32_t leaf, std::uint32_t subleaf,
                                    const CpuidResult& raw) noexcept;

/// Whether the answer to `leaf` may be another one than that of the machine, whose CPUID.0:EAX is
/// `machine_max_basic_leaf`. Signal context: safe.
[[nodiscard]] constexpr bool sgx_changes_leaf(std::uint32_t machine_max_basic_leaf,
                                              std::uint32_t leaf) noexcept {
  return leaf == cpuid::kLeafMaximum || leaf == cpuid::kLeafFeatures || leaf == cpuid::kLeafSgx ||
         (leaf > machine_max_basic_leaf && leaf < cpuid::kFirstHypervisorLeaf);
}

/// The XFRM bits to offer to enclaves: what XCR0 enables and what the kernel saves in a signal frame (the
/// `xfeatures` of its software-reserved bytes), for an asynchronous exit finds the enclave's registers there.
/// Only x87, SSE, AVX, MPX, AVX-512 and PKRU are candidates, in combinations that XSETBV accepts: AMX needs
/// the kernel's permission for each process. Signal context: safe.
[[nodiscard]] std::uint64_t offered_xfrm(std::uint64_t xcr0, std::uint64_t signal_frame_features) noexcept;

/// Bytes of the standard-format XSAVE area for `xfrm` (SDM Vol. 3D, "XSAVE Processing"): the legacy region
/// and header, and each component that lies behind what precedes it. `components` is indexed by XFRM bit.
/// Signal context: safe.
[[nodiscard]] std::uint32_t xsave_area_size(std::uint64_t xfrm,
                                            std::span<const XsaveComponent, 64> components) noexcept;

}  // namespace enclume::arch
