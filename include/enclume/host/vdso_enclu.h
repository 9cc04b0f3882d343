// SPDX-License-Identifier: Apache-2.0
// The vDSO's __vdso_sgx_enclu, where there is one.
#pragma once

#include <optional>

#include "enclume/host/enclu_call.h"
#include "enclume/host/vdso_symbol.h"
#include "enclume/uapi/sgx_vdso_enclu.h"

namespace enclume {

/// Nothing where the vDSO has no such function, that is everywhere but under `enclume run
/// --fixup=vdso-registers`.
[[nodiscard]] inline std::optional<EncluFunction> find_vdso_enclu() noexcept {
  const void* function = find_vdso_symbol(SGX_VDSO_ENCLU_NAME);
  return function == nullptr ? std::nullopt : std::optional(EncluFunction(function));
}

}  // namespace enclume
