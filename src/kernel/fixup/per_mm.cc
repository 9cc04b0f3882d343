// SPDX-License-Identifier: Apache-2.0
// Design `per-mm`, RFC v3 of 10 December 2018 (Message-ID 20181210232141.5425-1): "redirect an otherwise
// fatal exception whose IP is an ENCLU" to the address space's handler. Which registers the handler finds is
// our own choice (include/enclume/uapi/sgx_enclu_handler.h): RDI, RSI and RDX as in the other designs, RCX
// the ENCLU.
#include "kernel/fixup/fixup.h"

namespace enclume::kernel {

std::optional<Fixup> per_mm_fixup(const FixupState& state, const TrapFrame& f) noexcept {
  // Whoever debugs an enclave needs these two, and no handler could tell an enclave's from the host's.
  if (f.vector == arch::Vector::DB || f.vector == arch::Vector::BP) {
    return std::nullopt;
  }
  if (!state.handler || f.code != kEncluBytes || !trap_signal(f)) {
    return std::nullopt;
  }
  return Fixup{
      .rip = *state.handler,
      .rdi = static_cast<std::uint64_t>(f.vector),
      .rsi = sanitized_error_code(f),
      .rdx = f.vector == arch::Vector::PF ? f.address.value() : 0,
      .rcx = f.rip.value(),
  };
}

}  // namespace enclume::kernel
