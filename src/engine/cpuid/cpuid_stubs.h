// SPDX-License-Identifier: Apache-2.0
// CPUIDs whose answer is known beforehand, answered without one.
//
// Under a hypervisor each CPUID is an exit to it, and glibc's static start asks some forty times, most of
// them for what stays the same: `mov $leaf, %eax` with CPUID right behind it, or with ECX set in between. The
// five bytes of that MOV become a jump to a stub, which loads the four registers and jumps behind the CPUID.
// That one stays, for whoever jumps to it. The stubs lie behind the code in the last page of its segment,
// which belongs to nobody.
//
// So a stub has no memory operand and no state: wherever a signal finds it, it can be completed.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "arch/cpuid/sgx_leaves.h"
#include "engine/cpuid/object_image.h"
#include "engine/cpuid/scan.h"
#include "engine/cpuid/text_writer.h"

namespace enclume::engine {

/// The answer to a leaf, with ECX if that is known; nothing unless it is the same always and on each core,
/// and SGX has no part in it.
using ConstantCpuid = std::optional<arch::CpuidResult> (*)(std::uint32_t leaf,
                                                           std::optional<std::uint32_t> subleaf);

inline constexpr std::size_t kStubSize = 27;
using StubBytes = std::array<std::byte, kStubSize>;

/// Where a thread is that has executed a stub to its end.
struct StubEnd {
  arch::CpuidResult result;
  std::uint64_t rip = 0;
  bool sets_flags = false;  ///< as XOR of a register with itself does, which has not been executed yet
};

/// Zero-initialised memory is no stubs.
class CpuidStubs {
 public:
  constexpr CpuidStubs() = default;

  /// Lays stubs for the sites of kind ConstantCpuid (others are passed by), all in one segment, as far as
  /// there is room. Nothing runs in the object yet. Once only.
  void lay(const ObjectImage& image, std::span<const HostSite> sites, ConstantCpuid answer,
           TextWriter& writer) noexcept;

  /// The stub that RIP is in. Signal context: safe.
  [[nodiscard]] std::optional<std::uint64_t> stub_at(std::uint64_t rip) const noexcept {
    const std::uint64_t offset = rip - begin_.load(std::memory_order_relaxed);
    return offset < size_.load(std::memory_order_relaxed) ? std::optional(rip - offset % kStubSize)
                                                          : std::nullopt;
  }

  /// How the stub of these bytes at `stub` ends for who is at RIP; nothing if it is none.
  [[nodiscard]] static std::optional<StubEnd> complete(std::uint64_t stub, const StubBytes& bytes,
                                                       std::uint64_t rip) noexcept;

 private:
  std::atomic<std::uint64_t> begin_{0};
  std::atomic<std::uint64_t> size_{0};
};

}  // namespace enclume::engine
