// SPDX-License-Identifier: Apache-2.0
// The four ways in which user space may learn of a fault at an ENCLU (docs/exception-designs.md).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace enclume::kernel {

enum class ExceptionDesign : std::uint8_t {
  Vdso,           ///< what Linux ships: an exception table for the vDSO's __vdso_sgx_enter_enclave
  VdsoRegisters,  ///< RFC v1 and v2 of 2018: such a table for a barebones function
  PerMm,          ///< RFC v3 of 2018: one handler an address space, for any ENCLU
  Signals,        ///< before all this
};

inline constexpr std::array kExceptionDesigns = {ExceptionDesign::Vdso, ExceptionDesign::VdsoRegisters,
                                                 ExceptionDesign::PerMm, ExceptionDesign::Signals};

/// As in `enclume run --fixup=NAME`. Signal context: safe, both.
[[nodiscard]] constexpr std::string_view name_of(ExceptionDesign design) noexcept {
  switch (design) {
    case ExceptionDesign::Vdso:
      return "vdso";
    case ExceptionDesign::VdsoRegisters:
      return "vdso-registers";
    case ExceptionDesign::PerMm:
      return "per-mm";
    case ExceptionDesign::Signals:
      return "signals";
  }
  return "";
}

[[nodiscard]] constexpr std::optional<ExceptionDesign> exception_design(std::string_view name) noexcept {
  for (const ExceptionDesign design : kExceptionDesigns) {
    if (name == name_of(design)) {
      return design;
    }
  }
  return std::nullopt;
}

}  // namespace enclume::kernel
