// SPDX-License-Identifier: Apache-2.0
// Which signal a user-mode exception becomes (Linux: arch/x86/kernel/traps.c, arch/x86/mm/fault.c).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "arch/fault.h"
#include "base/types.h"
#include "kernel/fault/page_fault.h"

namespace enclume::kernel {

/// The first address beyond user space with four-level paging (Linux: TASK_SIZE_MAX).
inline constexpr std::uint64_t kTaskSizeMax = (1ULL << 47) - kPageSize;

/// ENCLU's three bytes. With a prefix it is another instruction or the same one at another address.
inline constexpr std::array kEncluBytes = {std::byte{0x0f}, std::byte{0x01}, std::byte{0xd7}};

/// An exception as the kernel's entry code finds it: after an AEX `rip` is the AEP and the floating-point
/// words are the synthetic ones.
struct TrapFrame {
  arch::Vector vector{};
  std::uint32_t error_code = 0;
  LinearAddress address{};  ///< CR2, for #PF
  LinearAddress rip{};
  std::uint16_t fcw = 0x037f;                                ///< #MF
  std::uint16_t fsw = 0;                                     ///< #MF
  std::uint32_t mxcsr = 0x1f80;                              ///< #XM
  std::uint64_t dr6 = 0;                                     ///< #DB: causes, 0 after INT1
  FaultResolution page_fault = FaultResolution::BadMapping;  ///< #PF: what handle_enclave_fault() said
  std::array<std::byte, 3> code{};                           ///< bytes at `rip`, zeros where unreadable
};

/// siginfo of a forced signal; `addr` is si_addr (which <signal.h> makes a macro). si_code SI_KERNEL (0x80)
/// comes without an address.
struct TrapSignal {
  int signo = 0;
  int si_code = 0;
  LinearAddress addr{};

  friend bool operator==(const TrapSignal&, const TrapSignal&) = default;
};

/// Nothing if Linux lets the program go on: a #MF or #XM with no unmasked exception, a resolved #PF, and the
/// vectors that never are a program's (#NMI, #DF, #MC, #VE).
/// Signal context: safe.
[[nodiscard]] std::optional<TrapSignal> trap_signal(const TrapFrame&) noexcept;

/// si_code of #MF and #XM, 0 if spurious (Linux: fpu__exception_code()).
[[nodiscard]] int fpu_exception_code(const TrapFrame&) noexcept;

/// Error code as user space may see it: for a kernel address P is set, so that it can't be probed.
[[nodiscard]] std::uint32_t sanitized_error_code(const TrapFrame&) noexcept;

}  // namespace enclume::kernel
