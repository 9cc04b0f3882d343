// SPDX-License-Identifier: Apache-2.0
// Who gets an exception: the caller of the ENCLU, by a fixup, or the process, by a signal. One file a design.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "base/types.h"
#include "kernel/traps/traps.h"

namespace enclume::kernel {

/// Where the program goes on instead of getting a signal. Registers not named keep their values.
struct Fixup {
  LinearAddress rip;
  std::uint64_t rdi = 0;  ///< vector
  std::uint64_t rsi = 0;  ///< error code
  std::uint64_t rdx = 0;  ///< address: page-masked CR2 after an AEX, 0 for all but #PF

  friend bool operator==(const Fixup&, const Fixup&) = default;
};

/// One row of the vDSO's exception table: exactly one instruction.
struct FixupSite {
  LinearAddress instruction;
  LinearAddress fixup;
};

/// How user space learns of a fault (design page, "the designs that Enclume must offer").
enum class ExceptionDesign : std::uint8_t {
  Vdso,  ///< what Linux ships
};

struct Nothing {
  friend bool operator==(Nothing, Nothing) = default;
};
/// Nothing: go on at the same place.
using Delivery = std::variant<Nothing, Fixup, TrapSignal>;

/// The whole decision, from what is in the frame alone. `site` is empty if the program has no vDSO of ours.
/// Signal context: safe.
[[nodiscard]] Delivery deliver(ExceptionDesign, const std::optional<FixupSite>& site,
                               const TrapFrame&) noexcept;

/// design `vdso` (Linux: fixup_vdso_exception() and its callers): nothing if the exception is not fixed up:
/// another RIP, #DB and #BP, vectors whose handler does not ask (#NM, #MC, #CP, …), spurious #MF and #XM.
[[nodiscard]] std::optional<Fixup> vdso_fixup(const FixupSite&, const TrapFrame&) noexcept;

}  // namespace enclume::kernel
