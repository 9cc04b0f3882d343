// SPDX-License-Identifier: Apache-2.0
// Design `signals`, the world before the vDSO function: a fault at an ENCLU is a fault like any other, and a
// runtime recognises its own in a signal handler, by RIP = AEP and RAX = 3.
#include "kernel/fixup/fixup.h"

namespace enclume::kernel {

std::optional<Fixup> no_fixup(const FixupState& /*state*/, const TrapFrame& /*frame*/) noexcept {
  return std::nullopt;
}

}  // namespace enclume::kernel
