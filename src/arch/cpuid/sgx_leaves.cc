// SPDX-License-Identifier: Apache-2.0
#include "arch/cpuid/sgx_leaves.h"

#include <algorithm>

namespace enclume::arch {
namespace {

// Where the XSAVE area's extended components begin: 512 bytes of legacy region, 64 of header.
constexpr std::uint32_t kXsaveExtendedOffset = 576;

constexpr std::uint64_t kXfrmAvx = 1ULL << 2;
constexpr std::uint64_t kXfrmMpx = 3ULL << 3;
constexpr std::uint64_t kXfrmAvx512 = 7ULL << 5;
constexpr std::uint64_t kXfrmPkru = 1ULL << 9;

constexpr std::uint32_t low_half(std::uint64_t value) noexcept {
  return static_cast<std::uint32_t>(value);
}
constexpr std::uint32_t high_half(std::uint64_t value) noexcept {
  return static_cast<std::uint32_t>(value >> 32);
}

// A physical address or size is split into bits 31:12 and bits 51:32.
constexpr std::uint32_t low_page_bits(std::uint64_t value) noexcept {
  return low_half(value) & 0xffff'f000;
}
constexpr std::uint32_t high_page_bits(std::uint64_t value) noexcept {
  return high_half(value) & 0x000f'ffff;
}

CpuidResult sgx_capabilities(const CpuidProfile& profile) noexcept {
  return {
      .eax = cpuid::kSgx1 | (profile.sgx2 ? cpuid::kSgx2 : 0) | (profile.edeccssa ? cpuid::kEdeccssa : 0),
      .ebx = profile.misc_supported,
      .ecx = 0,
      .edx = std::uint32_t{profile.max_size_log2_32} | std::uint32_t{profile.max_size_log2_64} << 8,
  };
}

CpuidResult sgx_attributes(const CpuidProfile& profile) noexcept {
  const Attributes& settable = profile.attributes_supported;
  return {
      .eax = low_half(settable.flags),
      .ebx = high_half(settable.flags),
      .ecx = low_half(settable.xfrm),
      .edx = high_half(settable.xfrm),
  };
}

CpuidResult epc_section(const CpuidProfile& profile, std::uint32_t index) noexcept {
  if (index >= profile.epc.size()) {
    return {};
  }
  const EpcSection& section = profile.epc[index];
  return {
      .eax = low_page_bits(section.base) | cpuid::kEpcSectionPresent,
      .ebx = high_page_bits(section.base),
      .ecx = low_page_bits(section.size) | cpuid::kEpcSectionProtected,
      .edx = high_page_bits(section.size),
  };
}

CpuidResult sgx_leaf(const CpuidProfile& profile, std::uint32_t subleaf) noexcept {
  switch (subleaf) {
    case cpuid::kSubleafSgxCapabilities:
      return sgx_capabilities(profile);
    case cpuid::kSubleafSgxAttributes:
      return sgx_attributes(profile);
    default:
      return epc_section(profile, subleaf - cpuid::kFirstEpcSubleaf);
  }
}

}  // namespace

CpuidProfile cpuid_profile(const MachineConfig& config, std::uint32_t machine_max_basic_leaf,
                           std::span<const EpcSection> epc) noexcept {
  return {
      .machine_max_basic_leaf = machine_max_basic_leaf,
      .sgx2 = config.sgx2,
      .edeccssa = (config.attributes_supported & attribute::kAexNotify) != 0,
      .misc_supported = config.misc_supported,
      .attributes_supported = {.flags = config.attributes_supported & ~attribute::kInit,
                               .xfrm = config.xfrm_supported},
      .max_size_log2_32 = config.max_size_log2_32,
      .max_size_log2_64 = config.max_size_log2_64,
      .epc = epc,
  };
}

CpuidResult sgx_cpuid(const CpuidProfile& profile, std::uint32_t leaf, std::uint32_t subleaf,
                      const CpuidResult& raw) noexcept {
  if (leaf == cpuid::kLeafSgx) {
    return sgx_leaf(profile, subleaf);
  }
  const bool beyond_machine = leaf > profile.machine_max_basic_leaf && leaf < cpuid::kFirstHypervisorLeaf;
  CpuidResult result =
      beyond_machine && profile.machine_max_basic_leaf < cpuid::kLeafSgx ? CpuidResult{} : raw;
  if (leaf == cpuid::kLeafMaximum) {
    result.eax = std::max(result.eax, cpuid::kLeafSgx);
  } else if (leaf == cpuid::kLeafFeatures && subleaf == 0) {
    result.ebx |= cpuid::kFeatureSgx;
    result.ecx |= cpuid::kFeatureSgxLc;
  }
  return result;
}

std::uint64_t offered_xfrm(std::uint64_t xcr0, std::uint64_t signal_frame_features) noexcept {
  const std::uint64_t both = xcr0 & signal_frame_features;
  std::uint64_t offered = kXfrmLegacy | (both & kXfrmPkru);
  if ((both & kXfrmAvx) != 0) {
    offered |= kXfrmAvx;
    if ((both & kXfrmAvx512) == kXfrmAvx512) {
      offered |= kXfrmAvx512;
    }
  }
  if ((both & kXfrmMpx) == kXfrmMpx) {
    offered |= kXfrmMpx;
  }
  return offered;
}

std::uint32_t xsave_area_size(std::uint64_t xfrm, std::span<const XsaveComponent, 64> components) noexcept {
  std::uint32_t offset = kXsaveExtendedOffset;
  std::uint32_t last_size = 0;
  for (std::size_t i = 2; i < components.size(); ++i) {
    if (((xfrm >> i) & 1) != 0 && components[i].offset >= offset + last_size) {
      offset = components[i].offset;
      last_size = components[i].size;
    }
  }
  return offset + last_size;
}

}  // namespace enclume::arch
