// SPDX-License-Identifier: Apache-2.0
#include "engine/start/processor.h"

#include <sys/utsname.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <optional>
#include <span>

#include "arch/cpuid/sgx_leaves.h"
#include "base/syscall.h"
#include "base/types.h"
#include "engine/cpuid/site_cache.h"
#include "engine/front/object_symbols.h"
#include "engine/start/alone.h"

namespace enclume::engine {

namespace {

/// The vDSO image of a static program is another, and both kinds start in turns.
std::string_view file_name() {
  return has_libc() ? "processor" : "processor-static";
}
constexpr std::uint64_t kMagic = 0x3330'7563'6f72'7065;  // "eprocu03"
constexpr std::uint32_t kOsxsave = 1U << 27;             // CPUID.1:ECX
constexpr std::uint32_t kHypervisor = 1U << 31;          // the same

/// What tells this processor from another one.
struct Identity {
  std::uint64_t magic = kMagic;
  std::uint64_t salt = 0;
  std::uint64_t hwcap = 0;
  std::uint64_t hwcap2 = 0;
  std::uint64_t xcr0 = 0;
  std::uint64_t kernel = 0;
  std::array<std::uint32_t, 4> leaf1{};  ///< without EBX, where the current core's number is
  std::array<std::uint32_t, 4> leaf7{};
  friend bool operator==(const Identity&, const Identity&) = default;
};

struct Kept {
  Identity identity;
  StartFacts facts;
};
static_assert(sizeof(Kept) <= kPageSize, "a page at the start of each process");

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

std::int64_t nanoseconds() {
  timespec now{};
  sys::raw(__NR_clock_gettime, CLOCK_MONOTONIC, sys::arg(&now));
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

/// 0.1 us without a hypervisor, 1 to some 50 with one; a signal takes some 2 to 4. The fastest of a few,
/// since others take the processor's time, too; and without the clock's own, which a tracer makes long.
bool is_cpuid_quick() {
  constexpr std::int64_t kQuick = 2000;
  std::int64_t fastest = 1'000'000'000;
  std::int64_t clock = fastest;
  for (int i = 0; i < 6; ++i) {
    const std::int64_t before = nanoseconds();
    const std::int64_t between = nanoseconds();
    cpuid(0, 0);
    clock = std::min(clock, between - before);
    fastest = std::min(fastest, nanoseconds() - between);
  }
  return fastest - clock < kQuick;
}

/// Intel SDM Vol. 2A, CPUID: leaf 1 ECX, leaf 7.0 EBX and ECX.
arch::PageCipher find_page_cipher(std::uint32_t max_leaf, std::uint64_t xcr0) {
  constexpr std::uint32_t kPclmulqdqSsse3Aes = 1U << 1 | 1U << 9 | 1U << 25;
  constexpr std::uint32_t kAvx2 = 1U << 5;
  constexpr std::uint32_t kVaesVpclmulqdq = 1U << 9 | 1U << 10;
  constexpr std::uint64_t kSseAndAvx = 6;  // XCR0
  if ((cpuid(1, 0).ecx & kPclmulqdqSsse3Aes) != kPclmulqdqSsse3Aes) {
    return arch::PageCipher::Portable;
  }
  const arch::CpuidResult seven = max_leaf >= 7 ? cpuid(7, 0) : arch::CpuidResult{};
  return (seven.ebx & kAvx2) != 0 && (seven.ecx & kVaesVpclmulqdq) == kVaesVpclmulqdq &&
                 (xcr0 & kSseAndAvx) == kSseAndAvx
             ? arch::PageCipher::Vaes
             : arch::PageCipher::AesNi;
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
  const std::uint32_t features = cpuid(1, 0).ecx;
  facts.xsave = (features & kOsxsave) != 0;
  facts.hypervisor = (features & kHypervisor) != 0;
  facts.quick_cpuid = is_cpuid_quick();
  if (facts.xsave) {
    facts.xcr0 = read_xcr0();
  }
  facts.page_cipher = find_page_cipher(facts.max_leaf, facts.xcr0);
  if (!facts.xsave) {
    return facts;
  }
  facts.xgetbv_in_use = (cpuid(0xd, 1).eax & kXgetbvInUse) != 0;
  for (std::uint32_t i = 2; i < 63; ++i) {
    if ((facts.xcr0 >> i & 1) != 0) {
      const arch::CpuidResult r = cpuid(0xd, i);
      facts.components[i] = {r.ebx, r.eax};
    }
  }
  return facts;
}

/// Gathers answers that are the same on each core and at each time.
class Leaves {
 public:
  explicit Leaves(ProcessorFacts& facts) : facts_(facts) {}

  void add_all() {
    const std::uint32_t basic = std::min(cpuid(0, 0).eax, kLastBasic);
    if (basic >= 7 && (cpuid(7, 0).edx & kHybrid) != 0) {
      return;  // cores of several kinds, with caches, counters and translation buffers of their own
    }
    for (std::uint32_t leaf = 0; leaf <= basic; ++leaf) {
      add_basic(leaf);
    }
    const std::uint32_t extended = std::min(cpuid(kFirstExtended, 0).eax, kLastExtended);
    for (std::uint32_t leaf = kFirstExtended; leaf <= extended && leaf >= kFirstExtended; ++leaf) {
      if (leaf == kAmdCaches) {
        add_caches(leaf);
      } else {
        add(leaf, CpuidLeaf::kAnySubleaf);
      }
    }
  }

 private:
  static constexpr std::uint32_t kLastBasic = 0x19;   ///< the next one tells of the kind of core
  static constexpr std::uint32_t kHybrid = 1U << 15;  ///< CPUID.7.0:EDX
  static constexpr std::uint32_t kFirstExtended = 0x80000000;
  static constexpr std::uint32_t kLastExtended = 0x8000001d;  ///< the next one has core numbers
  static constexpr std::uint32_t kAmdCaches = 0x8000001d;

  void add_basic(std::uint32_t leaf) {
    switch (leaf) {
      case 1:     // EBX has the core's number,
      case 0x0b:  // as EDX here
      case 0x0f:  // and these tell of sets of cores: caches and bandwidth
      case 0x10:
      case 0x12:  // SGX, which the engine answers
        break;
      case 0x0d:
        add_state_components();
        break;
      case 0x14:
      case 0x17:
      case 0x18:
        for (std::uint32_t i = 0; i <= std::min(cpuid(leaf, 0).eax, 3U); ++i) {
          add(leaf, i);
        }
        break;
      case 4:
        add_caches(leaf);
        break;
      case 7:
        for (std::uint32_t i = 0; i <= std::clamp(cpuid(leaf, 0).eax, 1U, 2U); ++i) {
          add(leaf, i);  // glibc asks for 1 whether or not there is one
        }
        break;
      default:
        add(leaf, CpuidLeaf::kAnySubleaf);
        break;
    }
  }

  /// XSAVE: the size of what XCR0 and XSS have enabled, which the kernel has made the same for all, and the
  /// size and place of each part. Of parts that are not there, glibc asks for those up to 7.
  void add_state_components() {
    constexpr std::uint32_t kLeaf = 0x0d;
    add(kLeaf, 0);
    const auto supported = add(kLeaf, 1);
    const std::uint64_t all = facts_.xcr0 | (std::uint64_t{supported.edx} << 32) | supported.ecx;
    for (std::uint32_t i = 2; i < 64; ++i) {
      if (i < 8 || (all >> i & 1) != 0) {
        add(kLeaf, i);
      }
    }
  }

  /// Deterministic cache parameters: a list that ends with type 0.
  void add_caches(std::uint32_t leaf) {
    constexpr std::uint32_t kMostCaches = 8;
    for (std::uint32_t i = 0; i < kMostCaches; ++i) {
      if ((add(leaf, i).eax & 0x1f) == 0) {
        break;
      }
    }
  }

  arch::CpuidResult add(std::uint32_t leaf, std::uint32_t subleaf) {
    const auto result = cpuid(leaf, subleaf == CpuidLeaf::kAnySubleaf ? 0 : subleaf);
    if (facts_.leaf_count < facts_.leaves.size()) {
      facts_.leaves[facts_.leaf_count++] = {leaf, subleaf, result};
    }
    return result;
  }

  ProcessorFacts& facts_;
};

/// The kernel's release and version, which says when it was built.
std::uint64_t hash_of_kernel() {
  utsname name{};
  sys::raw(__NR_uname, sys::arg(&name));
  return hash_of(std::as_bytes(std::span(&name.release, 1)),
                 hash_of(std::as_bytes(std::span(&name.version, 1))));
}

/// glibc's <sys/platform/x86.h>, since 2.33: EAX to EDX as the processor gave them, and as they are usable.
struct CpuidFeature {
  std::array<std::uint32_t, 4> given;
  std::array<std::uint32_t, 4> active;
};

/// Leaves 1 and 7 as the dynamic linker has read them, or without it by asking. False if it does not tell.
bool read_known_leaves(Identity& identity) {
  constexpr unsigned kLeaf1 = 0;  // CPUID_INDEX_1
  constexpr unsigned kLeaf7 = 1;  // CPUID_INDEX_7
  if (!has_libc()) {
    const arch::CpuidResult one = cpuid(1, 0);
    const arch::CpuidResult seven = cpuid(7, 0);
    identity.leaf1 = {one.eax, one.ebx, one.ecx, one.edx};
    identity.leaf7 = {seven.eax, seven.ebx, seven.ecx, seven.edx};
    return true;
  }
  using Get = const CpuidFeature*(unsigned);
  auto* const get = reinterpret_cast<Get*>(next_function_at_start("__x86_get_cpuid_feature_leaf"));
  if (get == nullptr) {
    return false;
  }
  identity.leaf1 = get(kLeaf1)->given;
  identity.leaf7 = get(kLeaf7)->given;
  return true;
}

std::optional<Identity> identify(std::uint64_t salt, std::uint64_t hwcap, std::uint64_t hwcap2) {
  constexpr std::size_t kEbx = 1;
  constexpr std::size_t kEcx = 2;
  Identity identity{.salt = salt, .hwcap = hwcap, .hwcap2 = hwcap2};
  if (!read_known_leaves(identity)) {
    return std::nullopt;
  }
  identity.leaf1[kEbx] = 0;
  identity.kernel = hash_of_kernel();
  if ((identity.leaf1[kEcx] & kOsxsave) != 0) {
    identity.xcr0 = read_xcr0();
  }
  return identity;
}

constinit Kept kept;
constinit bool leaves_known = false;                  ///< kept.identity has them
constinit const CacheDirectory* directory = nullptr;  ///< if the identity tells this processor from others
constinit std::span<const std::byte> image_place;

bool is_plausible(const ProcessorFacts& facts) {
  constexpr std::uint64_t kLargestArea = 1U << 16;
  return facts.leaf_count <= facts.leaves.size() && facts.page_cipher <= arch::PageCipher::Vaes &&
         std::ranges::all_of(facts.components, [](const arch::XsaveComponent& component) {
           return std::uint64_t{component.offset} + component.size <= kLargestArea;
         });
}

}  // namespace

StartFacts& examine_processor(const CacheDirectory& cache, std::uint64_t salt, std::uint64_t hwcap,
                              std::uint64_t hwcap2, std::uint64_t (*probe)(), std::span<std::byte> place) {
  StartFacts& facts = kept.facts;
  const auto identity = cache.exists() ? identify(salt, hwcap, hwcap2) : std::nullopt;
  directory = identity ? &cache : nullptr;
  image_place = place;
  const std::size_t size =
      identity ? cache.read(file_name(), std::as_writable_bytes(std::span(&kept, 1)), place) : 0;
  if (size >= sizeof(kept) && kept.identity == *identity && is_plausible(facts.processor)) {
    leaves_known = true;
    facts.changed = false;
    if (size != sizeof(kept) + facts.image.about.size) {
      facts.image = {};
    }
    return facts;
  }
  std::memset(static_cast<void*>(&kept), 0, sizeof(kept));  // the padding, too
  facts.processor = ask_processor();
  facts.processor.frame_features = probe();
  if (identity) {
    Leaves(facts.processor).add_all();
    kept.identity = *identity;
    facts.changed = true;
  }
  return facts;
}

void keep_start_facts() {
  if (directory != nullptr && kept.facts.changed) {
    kept.facts.changed = false;
    const std::size_t size = kept.facts.image.key != 0 ? kept.facts.image.about.size : 0;
    directory->write(file_name(), std::as_bytes(std::span(&kept, 1)), image_place.first(size));
  }
}

}  // namespace enclume::engine

/// libnettle's constructor and first use ask the processor, too. Its own CPUID would take a hypervisor some
/// microseconds each time, and fault where CPUID does.
extern "C" [[gnu::visibility("hidden")]] void _nettle_cpuid(std::uint32_t leaf, std::uint32_t* registers) {
  using namespace enclume::engine;
  if (leaf == 1 && leaves_known) {
    std::ranges::copy(kept.identity.leaf1, registers);
    return;
  }
  const enclume::arch::CpuidResult result = machine_cpuid(leaf, 0);
  registers[0] = result.eax;
  registers[1] = result.ebx;
  registers[2] = result.ecx;
  registers[3] = result.edx;
}
