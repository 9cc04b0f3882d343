// SPDX-License-Identifier: Apache-2.0
// The part of an address space that decides about its exceptions.
#pragma once

#include <optional>

#include "base/types.h"

namespace enclume::kernel {

/// One row of the vDSO's exception table: exactly one instruction.
struct FixupSite {
  LinearAddress instruction;
  LinearAddress fixup;
};

/// What the kernel knows of an address space, and the decision rests on.
struct FixupState {
  /// The table of the vDSO image; empty if the program has no vDSO of ours. Designs `vdso`, `vdso-registers`.
  std::optional<FixupSite> vdso;
  /// The registered ENCLU exception handler; without one nobody looks at TrapFrame::code. Design `per-mm`.
  std::optional<LinearAddress> handler;
};

}  // namespace enclume::kernel
