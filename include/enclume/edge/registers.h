// SPDX-License-Identifier: Apache-2.0
// The general registers, as the processor saves them at an exception.
#pragma once

#include <cstdint>

namespace enclume {

/// In the order of SDM volume 3D, "GPRSGX Region": 144 bytes.
struct Registers {
  std::uint64_t rax;     ///< Offset 0.
  std::uint64_t rcx;     ///< Offset 8.
  std::uint64_t rdx;     ///< Offset 16.
  std::uint64_t rbx;     ///< Offset 24.
  std::uint64_t rsp;     ///< Offset 32.
  std::uint64_t rbp;     ///< Offset 40.
  std::uint64_t rsi;     ///< Offset 48.
  std::uint64_t rdi;     ///< Offset 56.
  std::uint64_t r8;      ///< Offset 64.
  std::uint64_t r9;      ///< Offset 72.
  std::uint64_t r10;     ///< Offset 80.
  std::uint64_t r11;     ///< Offset 88.
  std::uint64_t r12;     ///< Offset 96.
  std::uint64_t r13;     ///< Offset 104.
  std::uint64_t r14;     ///< Offset 112.
  std::uint64_t r15;     ///< Offset 120.
  std::uint64_t rflags;  ///< Offset 128. RF is set after a fault, TF never.
  std::uint64_t rip;     ///< Offset 136. Of a fault, the instruction that raised it.
  bool operator==(const Registers&) const = default;  ///< Field by field.
};
static_assert(sizeof(Registers) == 144);

}  // namespace enclume
