// SPDX-License-Identifier: Apache-2.0
// Design `vdso`, what Linux ships since 5.11: the fixup is inside __vdso_sgx_enter_enclave
// (kernel/vdso/enter_enclave.S), which fills struct sgx_enclave_run and calls the caller's handler.
#include "kernel/fixup/exception_table.h"

namespace enclume::kernel {

std::optional<Fixup> vdso_fixup(const FixupState& state, const TrapFrame& frame) noexcept {
  return exception_table_fixup(state.vdso, frame);
}

}  // namespace enclume::kernel
