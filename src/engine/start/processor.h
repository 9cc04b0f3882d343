// SPDX-License-Identifier: Apache-2.0
// What the engine has to know of the processor underneath.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "arch/identity/page_cipher.h"
#include "arch/machine.h"
#include "engine/cpuid/cache_directory.h"
#include "engine/cpuid/site_cache.h"
#include "engine/cpuid_emulation.h"
#include "kernel/vdso/image.h"

namespace enclume::engine {

struct ProcessorFacts {
  std::uint32_t max_leaf = 0;  ///< CPUID.0:EAX
  bool amd = false;            ///< AMD or Hygon: see decode::BranchRule
  bool pkeys = false;          ///< CPUID.7.0:ECX.OSPKE: the kernel has turned protection keys on
  bool xsave = false;          ///< CPUID.1:ECX.OSXSAVE
  bool hypervisor = false;     ///< CPUID.1:ECX[31]: each CPUID is a trap of a hypervisor's
  bool quick_cpuid = false;    ///< a CPUID takes less time than a signal
  bool xgetbv_in_use = false;  ///< CPUID.0DH.1:EAX[2]: XGETBV with ECX = 1
  arch::PageCipher page_cipher = arch::PageCipher::Portable;  ///< the fastest that it has everything for
  std::uint64_t xcr0 = 3;                                     ///< x87 and SSE without XSAVE
  std::array<arch::XsaveComponent, 64> components{};          ///< CPUID.0DH.n, for n from 2
  std::uint64_t frame_features = 0;                           ///< the xfeatures word of a signal frame
  /// Leaves whose answers never change; only gathered if they are kept.
  static constexpr std::size_t kMaxLeaves = 80;
  std::array<CpuidLeaf, kMaxLeaves> leaves{};
  std::uint32_t leaf_count = 0;
};

/// The vDSO image that another process has built. Its bytes are read into the place where it will be.
struct KeptImage {
  std::uint64_t key = 0;       ///< of what it was built from; 0: there is none
  std::uint64_t checksum = 0;  ///< of the rest, and its bytes
  std::uint64_t machine = 0;   ///< where the machine's vDSO was
  kernel::VdsoImage about;
};

/// What each process needs at its start, in one file.
struct StartFacts {
  ProcessorFacts processor;
  SitelessObjects siteless;
  KeptImage image;
  bool changed = false;  ///< there is something in it that the file has not
};

/// Asks CPUID, of which a hypervisor makes some microseconds each; or takes what another process has kept in
/// the directory, if this is the same processor by all that can be seen without CPUID: XCR0, the two AT_HWCAP
/// words, and the leaves that the dynamic linker has read, under the same kernel. Once, before CPUID is made
/// to fault. `probe` asks the kernel for a signal frame; not called if nothing of it has to be known anew. If
/// an image was kept, it is in `place` after that. The directory and the place must stay.
[[nodiscard]] StartFacts& examine_processor(const CacheDirectory& cache, std::uint64_t salt,
                                            std::uint64_t hwcap, std::uint64_t hwcap2,
                                            std::uint64_t (*probe)(), std::span<std::byte> place);

/// Writes the file anew, if something in the facts is new, with the kept image from its place. When all is
/// known.
void keep_start_facts();

}  // namespace enclume::engine
