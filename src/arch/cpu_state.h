// SPDX-License-Identifier: Apache-2.0
// The part of a logical processor's state that SGX transitions read and write.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace enclume::arch {

/// General registers in the order of their encoding, which is also GPRSGX's order.
enum class Reg : std::uint8_t {
  Rax = 0,
  Rcx = 1,
  Rdx = 2,
  Rbx = 3,
  Rsp = 4,
  Rbp = 5,
  Rsi = 6,
  Rdi = 7,
  R8 = 8,
  R9 = 9,
  R10 = 10,
  R11 = 11,
  R12 = 12,
  R13 = 13,
  R14 = 14,
  R15 = 15,
};

namespace rflags {
inline constexpr std::uint64_t kCf = 1ULL << 0;
inline constexpr std::uint64_t kPf = 1ULL << 2;
inline constexpr std::uint64_t kAf = 1ULL << 4;
inline constexpr std::uint64_t kZf = 1ULL << 6;
inline constexpr std::uint64_t kSf = 1ULL << 7;
inline constexpr std::uint64_t kTf = 1ULL << 8;
inline constexpr std::uint64_t kIf = 1ULL << 9;
inline constexpr std::uint64_t kDf = 1ULL << 10;
inline constexpr std::uint64_t kOf = 1ULL << 11;
inline constexpr std::uint64_t kNt = 1ULL << 14;
inline constexpr std::uint64_t kRf = 1ULL << 16;
inline constexpr std::uint64_t kAc = 1ULL << 18;
inline constexpr std::uint64_t kId = 1ULL << 21;
}  // namespace rflags

struct XsaveComponent;

/// Extended state in the standard (non-compacted) XSAVE format, 64-byte aligned. The memory belongs to
/// the caller (the engine's signal frame, a test's buffer).
struct XsaveImage {
  std::byte* area = nullptr;
  std::uint32_t size = 0;      ///< bytes at `area`; at least 576
  std::uint64_t features = 0;  ///< components that `area` has room for (as XCR0)
  /// 64 entries: where `area` keeps each component. Null: where MachineConfig::xsave says. It differs when
  /// CPUID shows another processor's offsets than the machine has.
  const XsaveComponent* layout = nullptr;
};

/// Registers as an instruction finds and leaves them. RIP is the address of the ENCLU when a leaf begins;
/// a leaf that completes sets it to the next instruction or to its target.
struct CpuState {
  std::array<std::uint64_t, 16> gpr{};
  std::uint64_t rip = 0;
  std::uint64_t rflags = 0x202;
  std::uint64_t fs_base = 0;
  std::uint64_t gs_base = 0;
  XsaveImage xsave;
  /// Set by a leaf at whose end a #DB is pending (TF); the caller delivers it.
  bool pending_single_step = false;

  [[nodiscard]] std::uint64_t& operator[](Reg r) { return gpr[static_cast<std::size_t>(r)]; }
  [[nodiscard]] std::uint64_t operator[](Reg r) const { return gpr[static_cast<std::size_t>(r)]; }
  [[nodiscard]] LinearAddress address(Reg r) const { return LinearAddress((*this)[r]); }
};

/// Length of ENCLU (0F 01 D7).
inline constexpr std::uint64_t kEncluLength = 3;

}  // namespace enclume::arch
