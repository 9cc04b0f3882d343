// SPDX-License-Identifier: Apache-2.0
#include "arch/cpuid/sgx_leaves.h"

#include <gtest/gtest.h>

#include <array>

#include "arch/structs/attributes.h"

namespace enclume::arch {
namespace {

constexpr std::array<EpcSection, 2> kEpc = {{
    {.base = 0x1'8000'0000, .size = 0x1000'0000},
    {.base = 0xf'ffff'ffff'f000, .size = 0x12'3456'7000},
}};

constexpr CpuidResult kRaw = {.eax = 0x1111'1111, .ebx = 0x2222'2222, .ecx = 0x0333'3333, .edx = 0x4444'4444};

MachineConfig config() {
  MachineConfig c;
  c.sgx2 = true;
  c.misc_supported = miscselect::kExinfo;
  c.attributes_supported = attribute::kDebug | attribute::kMode64Bit | attribute::kProvisionKey |
                           attribute::kEinitTokenKey | attribute::kKss;
  c.xfrm_supported = 0xe7;
  c.max_size_log2_32 = 31;
  c.max_size_log2_64 = 36;
  return c;
}

CpuidProfile profile(std::uint32_t machine_max = 0x20) {
  return cpuid_profile(config(), machine_max, kEpc);
}

TEST(SgxCpuid, MaximumLeafReachesTheSgxLeaf) {
  EXPECT_EQ(sgx_cpuid(profile(0x10), 0, 0, {.eax = 0x10, .ebx = 1, .ecx = 2, .edx = 3}),
            (CpuidResult{.eax = 0x12, .ebx = 1, .ecx = 2, .edx = 3}));
}

TEST(SgxCpuid, HigherMaximumLeafStays) {
  EXPECT_EQ(sgx_cpuid(profile(0x20), 0, 0, {.eax = 0x20, .ebx = 1, .ecx = 2, .edx = 3}).eax, 0x20u);
}

TEST(SgxCpuid, LeavesBetweenTheMachinesMaximumAndSgxAreEmpty) {
  for (const std::uint32_t leaf : {0xeu, 0xfu, 0x10u, 0x11u, 0x13u, 0x3fff'ffffu}) {
    EXPECT_EQ(sgx_cpuid(profile(0xd), leaf, 0, kRaw), CpuidResult{}) << leaf;
  }
}

TEST(SgxCpuid, LeavesTheMachineHasPassThrough) {
  for (const std::uint32_t leaf : {1u, 2u, 4u, 0xbu, 0xdu, 0x4000'0000u, 0x8000'0000u, 0x8000'0008u}) {
    EXPECT_EQ(sgx_cpuid(profile(0xd), leaf, 0, kRaw), kRaw) << leaf;
  }
  EXPECT_EQ(sgx_cpuid(profile(0x20), 0x14, 0, kRaw), kRaw);
  // Above its maximum the processor answers as it pleases, unless SGX moved the maximum.
  EXPECT_EQ(sgx_cpuid(profile(0x20), 0x21, 0, kRaw), kRaw);
}

// A CPUID for one that does not change may be executed as it is.
TEST(SgxCpuid, EachLeafThatChangesIsSaidTo) {
  for (const std::uint32_t maximum : {0xdu, 0x10u, 0x20u}) {
    for (const std::uint32_t block : {0u, 0x3fff'ff00u, 0x4000'0000u, 0x8000'0000u, 0xffff'ff00u}) {
      for (std::uint32_t leaf = block; leaf - block < 0x100; ++leaf) {
        for (const std::uint32_t subleaf : {0u, 1u, 2u}) {
          const CpuidResult raw{.eax = leaf == 0 ? maximum : 0x11, .ebx = 0x22, .ecx = 0x33, .edx = 0x44};
          ASSERT_TRUE(sgx_changes_leaf(maximum, leaf) ||
                      sgx_cpuid(profile(maximum), leaf, subleaf, raw) == raw)
              << leaf;
        }
      }
    }
  }
  for (const std::uint32_t leaf : {1u, 2u, 4u, 0xdu, 0x8000'0000u, 0x8000'001eu}) {
    EXPECT_FALSE(sgx_changes_leaf(0x10, leaf)) << leaf;
  }
}

TEST(SgxCpuid, FeatureLeafGainsSgxAndLaunchControlOnly) {
  const CpuidResult seen = sgx_cpuid(profile(), 7, 0, kRaw);
  EXPECT_EQ(
      seen,
      (CpuidResult{.eax = kRaw.eax, .ebx = kRaw.ebx | 1u << 2, .ecx = kRaw.ecx | 1u << 30, .edx = kRaw.edx}));
  EXPECT_EQ(sgx_cpuid(profile(), 7, 1, kRaw), kRaw);
}

TEST(SgxCpuid, FeatureLeafExistsOnAMachineWithoutOne) {
  EXPECT_EQ(sgx_cpuid(profile(5), 7, 0, kRaw),
            (CpuidResult{.eax = 0, .ebx = 1u << 2, .ecx = 1u << 30, .edx = 0}));
}

TEST(SgxCpuid, CapabilitiesOfSgx2) {
  EXPECT_EQ(sgx_cpuid(profile(), 0x12, 0, kRaw),
            (CpuidResult{.eax = 0b11, .ebx = 1, .ecx = 0, .edx = 36u << 8 | 31u}));
}

TEST(SgxCpuid, CapabilitiesOfSgx1) {
  MachineConfig c = config();
  c.sgx2 = false;
  c.misc_supported = 0;
  EXPECT_EQ(sgx_cpuid(cpuid_profile(c, 0x20, kEpc), 0x12, 0, kRaw),
            (CpuidResult{.eax = 0b01, .ebx = 0, .ecx = 0, .edx = 36u << 8 | 31u}));
}

TEST(SgxCpuid, EdeccssaComesWithAexNotify) {
  MachineConfig c = config();
  c.attributes_supported |= attribute::kAexNotify;
  EXPECT_EQ(sgx_cpuid(cpuid_profile(c, 0x20, kEpc), 0x12, 0, kRaw).eax, 1u | 2u | 1u << 11);
}

TEST(SgxCpuid, AttributesAndXfrm) {
  MachineConfig c = config();
  c.attributes_supported |= attribute::kInit | 1ULL << 40;
  c.xfrm_supported = 0x3'0000'00e7;
  // DEBUG, MODE64BIT, PROVISIONKEY, EINITTOKENKEY, KSS; never INIT.
  EXPECT_EQ(sgx_cpuid(cpuid_profile(c, 0x20, kEpc), 0x12, 1, kRaw),
            (CpuidResult{.eax = 0xb6, .ebx = 1u << 8, .ecx = 0xe7, .edx = 3}));
}

TEST(SgxCpuid, EpcSectionsThenTheEnd) {
  EXPECT_EQ(sgx_cpuid(profile(), 0x12, 2, kRaw),
            (CpuidResult{.eax = 0x8000'0001, .ebx = 1, .ecx = 0x1000'0001, .edx = 0}));
  EXPECT_EQ(sgx_cpuid(profile(), 0x12, 3, kRaw),
            (CpuidResult{.eax = 0xffff'f001, .ebx = 0xf'ffff, .ecx = 0x3456'7001, .edx = 0x12}));
  EXPECT_EQ(sgx_cpuid(profile(), 0x12, 4, kRaw), CpuidResult{});
  EXPECT_EQ(sgx_cpuid(profile(), 0x12, 0xffff'ffff, kRaw), CpuidResult{});
}

TEST(SgxCpuid, LinuxFindsTheSectionsAsTheDriverReadsThem) {
  // As sgx_calc_section_metric() of the kernel's driver puts the halves together.
  std::uint64_t found = 0;
  for (std::uint32_t i = 2; (sgx_cpuid(profile(), 0x12, i, {}).eax & 0xf) == 1; ++i, ++found) {
    const CpuidResult r = sgx_cpuid(profile(), 0x12, i, {});
    EXPECT_EQ((r.eax & 0xffff'f000) + (std::uint64_t{r.ebx & 0xf'ffff} << 32), kEpc[i - 2].base);
    EXPECT_EQ((r.ecx & 0xffff'f000) + (std::uint64_t{r.edx & 0xf'ffff} << 32), kEpc[i - 2].size);
  }
  EXPECT_EQ(found, kEpc.size());
}

TEST(OfferedXfrm, IsTheMachinesWithoutAmxAndSupervisorState) {
  constexpr std::uint64_t kSapphireRapids = 0x602e7;  // x87 SSE AVX AVX-512 PKRU AMX
  EXPECT_EQ(offered_xfrm(kSapphireRapids, kSapphireRapids), 0x2e7u);
  EXPECT_EQ(offered_xfrm(0xe7, ~0ULL), 0xe7u);
  EXPECT_EQ(offered_xfrm(~0ULL, ~0ULL), 0x2ffu);
}

TEST(OfferedXfrm, IsBoundByTheSignalFrame) {
  EXPECT_EQ(offered_xfrm(0xe7, 0x7), 0x7u);
  EXPECT_EQ(offered_xfrm(0xe7, 0x3), 0x3u);
  EXPECT_EQ(offered_xfrm(0x207, 0x7), 0x7u);
}

TEST(OfferedXfrm, IsAlwaysALegalXcr0) {
  for (std::uint64_t xcr0 = 0; xcr0 < 0x400; ++xcr0) {
    const std::uint64_t xfrm = offered_xfrm(xcr0 | 3, 0x3ff);
    EXPECT_EQ(xfrm & 3, 3u);
    EXPECT_EQ(xfrm & ~(xcr0 | 3), 0u) << xcr0;
    const std::uint64_t avx512 = xfrm & 0xe0;
    EXPECT_TRUE(avx512 == 0 || (avx512 == 0xe0 && (xfrm & 4) != 0)) << xcr0;
    const std::uint64_t mpx = xfrm & 0x18;
    EXPECT_TRUE(mpx == 0 || mpx == 0x18) << xcr0;
  }
}

// Intel's offsets of CPUID.0DH, and AMD's, whose AVX-512 components come at once behind AVX.
std::array<XsaveComponent, 64> intel_components() {
  std::array<XsaveComponent, 64> c{};
  c[2] = {.offset = 576, .size = 256};
  c[5] = {.offset = 1088, .size = 64};
  c[6] = {.offset = 1152, .size = 512};
  c[7] = {.offset = 1664, .size = 1024};
  c[9] = {.offset = 2688, .size = 8};
  return c;
}

std::array<XsaveComponent, 64> amd_components() {
  std::array<XsaveComponent, 64> c{};
  c[2] = {.offset = 576, .size = 256};
  c[5] = {.offset = 832, .size = 64};
  c[6] = {.offset = 896, .size = 512};
  c[7] = {.offset = 1408, .size = 1024};
  c[9] = {.offset = 2432, .size = 8};
  return c;
}

TEST(XsaveAreaSize, EndsBehindTheLastComponent) {
  EXPECT_EQ(xsave_area_size(0x3, intel_components()), 576u);
  EXPECT_EQ(xsave_area_size(0x7, intel_components()), 832u);
  EXPECT_EQ(xsave_area_size(0xe7, intel_components()), 2688u);
  EXPECT_EQ(xsave_area_size(0xe7, amd_components()), 2432u);
  EXPECT_EQ(xsave_area_size(0x2e7, intel_components()), 2696u);
}

TEST(XsaveAreaSize, GapsOfMissingComponentsCount) {
  EXPECT_EQ(xsave_area_size(0x23, intel_components()), 1152u);
}

TEST(XsaveAreaSize, OverlappingComponentIsIgnoredAsTheRuleSays) {
  auto c = intel_components();
  c[5] = {.offset = 600, .size = 4096};  // inside AVX
  EXPECT_EQ(xsave_area_size(0x27, c), 832u);
}

}  // namespace
}  // namespace enclume::arch
