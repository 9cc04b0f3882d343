// SPDX-License-Identifier: Apache-2.0
// Two unwinders, one question: who called the enter function?
#pragma once

#include <ucontext.h>

#include <cstdint>

namespace enclume::test {

/// The frame of vdso_probe_call() as an unwinder restored it; all zero if it did not find it.
struct CallerFrame {
  std::uint64_t rip, rsp, rbx, rbp;
};

/// libgcc's, from here outward, through any signal frame. If `interrupted` is not 0, the caller must be the
/// very next frame to the one with this RIP.
CallerFrame unwind_with_libgcc(std::uintptr_t interrupted);

/// libunwind's, from a signal's context; the caller must be the very next frame.
CallerFrame unwind_with_libunwind(ucontext_t& context);

}  // namespace enclume::test
