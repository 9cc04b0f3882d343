// SPDX-License-Identifier: Apache-2.0
// Design `vdso-registers`, RFC v1 and v2 of December 2018 ("x86: Add vDSO exception fixup for SGX"): the
// fixup is the return of a barebones function, so the caller finds the facts in registers. DI, SI and DX are
// what the RFC's fixup loaded and what Linux loads today.
#include "kernel/fixup/exception_table.h"

namespace enclume::kernel {

std::optional<Fixup> vdso_registers_fixup(const FixupState& state, const TrapFrame& frame) noexcept {
  return exception_table_fixup(state.vdso, frame);
}

}  // namespace enclume::kernel
