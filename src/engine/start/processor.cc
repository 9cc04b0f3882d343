// SPDX-License-Identifier: Apache-2.0
#include "engine/start/processor.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>

#include "arch/cpuid/sgx_leaves.h"

namespace enclume::engine {

namespace {

constexpr std::string_view kFile = "processor";
constexpr std::uint64_t kMagic = 0x3130'7563'6f72'7065;  // "eprocu01"
constexpr std::uint32_t kOsxsave = 1U << 27;             // CPUID.1:ECX

/// What tells this processor from another one.
struct Identity {
  std::uint64_t magic = kMagic;
  std::uint64_t salt = 0;
  std::uint64_t hwcap = 0;
  std::uint64_t hwcap2 = 0;
  std::uint64_t xcr0 = 0;
  std::array<std::uint32_t, 4> leaf1{};  ///< without EBX, where the current core's number is
  std::array<std::uint32_t, 4> leaf7{};
  friend bool operator==(const Identity&, const Identity&) = default;
};

struct Kept {
  Identity identity;
  ProcessorFacts facts;
};

arch::CpuidResult cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
  arch::CpuidResult r;
  __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
  return r;
}

std::uint64_t read_xcr0() {
  std::uint32_t low;
  std::uint32_t high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

ProcessorFacts ask_processor() {
  constexpr std::uint32_t kOspke = 1U << 4;         // CPUID.7.0:ECX
  constexpr std::uint32_t kXgetbvInUse = 1U << 2;   // CPUID.0DH.1:EAX
  constexpr std::uint32_t kAuthentic = 0x68747541;  // "Auth"
  constexpr std::uint32_t kHygon = 0x6f677948;      // "Hygo"
  ProcessorFacts facts;
  const arch::CpuidResult vendor = cpuid(0, 0);
  facts.max_leaf = vendor.eax;
  facts.amd = vendor.ebx == kAuthentic || vendor.ebx == kHygon;
  facts.pkeys = vendor.eax >= 7 && (cpuid(7, 0).ecx & kOspke) != 0;
  facts.xsave = (cpuid(1, 0).ecx & kOsxsave) != 0;
  if (!facts.xsave) {
    return facts;
  }
  facts.xcr0 = read_xcr0();
  facts.xgetbv_in_use = (cpuid(0xd, 1).eax & kXgetbvInUse) != 0;
  for (std::uint32_t i = 2; i < 63; ++i) {
    if ((facts.xcr0 >> i & 1) != 0) {
      const arch::CpuidResult r = cpuid(0xd, i);
      facts.components[i] = {r.ebx, r.eax};
    }
  }
  return facts;
}

/// glibc's <sys/platform/x86.h>, since 2.33: EAX to EDX as the processor gave them, and as they are usable.
struct CpuidFeature {
  std::array<std::uint32_t, 4> given;
  std::array<std::uint32_t, 4> active;
};

std::optional<Identity> identify(std::uint64_t salt, std::uint64_t hwcap, std::uint64_t hwcap2) {
  constexpr unsigned kLeaf1 = 0;  // CPUID_INDEX_1
  constexpr unsigned kLeaf7 = 1;  // CPUID_INDEX_7
  constexpr std::size_t kEbx = 1;
  constexpr std::size_t kEcx = 2;
  using Get = const CpuidFeature*(unsigned);
  auto* const get = reinterpret_cast<Get*>(dlsym(RTLD_DEFAULT, "__x86_get_cpuid_feature_leaf"));
  if (get == nullptr) {
    return std::nullopt;
  }
  Identity identity{.salt = salt, .hwcap = hwcap, .hwcap2 = hwcap2};
  identity.leaf1 = get(kLeaf1)->given;
  identity.leaf7 = get(kLeaf7)->given;
  identity.leaf1[kEbx] = 0;
  if ((identity.leaf1[kEcx] & kOsxsave) != 0) {
    identity.xcr0 = read_xcr0();
  }
  return identity;
}

bool is_plausible(const ProcessorFacts& facts) {
  constexpr std::uint64_t kLargestArea = 1U << 16;
  return std::ranges::all_of(facts.components, [](const arch::XsaveComponent& component) {
    return std::uint64_t{component.offset} + component.size <= kLargestArea;
  });
}

}  // namespace

ProcessorFacts examine_processor(const CacheDirectory& cache, std::uint64_t salt, std::uint64_t hwcap,
                                 std::uint64_t hwcap2) {
  const auto identity = cache.exists() ? identify(salt, hwcap, hwcap2) : std::nullopt;
  if (!identity) {
    return ask_processor();
  }
  Kept kept;
  const std::size_t size = cache.read(kFile, std::as_writable_bytes(std::span(&kept, 1)));
  if (size != sizeof(kept) || kept.identity != *identity || !is_plausible(kept.facts)) {
    std::memset(static_cast<void*>(&kept), 0, sizeof(kept));  // the padding, too
    kept.identity = *identity;
    kept.facts = ask_processor();
    cache.write(kFile, std::as_bytes(std::span(&kept, 1)));
  }
  return kept.facts;
}

}  // namespace enclume::engine
