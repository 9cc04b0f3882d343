// SPDX-License-Identifier: Apache-2.0
// Experiments that tell whether the kernel really does something. Each runs in a child process of its own, so
// that neither a fault nor a changed setting outlives it.
#pragma once

#include <optional>

namespace enclume::cli {

// A page under a protection key with PKEY_DISABLE_ACCESS cannot be read.
[[nodiscard]] bool protection_keys_work();

// CPUID raises SIGSEGV after arch_prctl(ARCH_SET_CPUID, 0).
[[nodiscard]] bool cpuid_faulting_works();

// A system call raises SIGSYS while the selector byte blocks it.
[[nodiscard]] bool user_dispatch_works();

// A thread gets a SIGTRAP behind its own read of a word, by a breakpoint event.
[[nodiscard]] bool read_watch_works();

// What system calls cost that don't come from libc, in nanoseconds; the best of several attempts.
struct RawCallCosts {
  double plain = 0;       // a short call as it is
  double armed = 0;       // the same while syscall user dispatch lets it through
  double dispatched = 0;  // stopped by syscall user dispatch: --front raw
  double patched = 0;     // stopped by a patched instruction: --front auto
};
// Nothing if the kernel has no syscall user dispatch.
[[nodiscard]] std::optional<RawCallCosts> raw_call_costs();

// Memory of a memfd can be mapped for execution.
[[nodiscard]] bool executable_memfd_works();

}  // namespace enclume::cli
