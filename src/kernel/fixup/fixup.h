// SPDX-License-Identifier: Apache-2.0
// Who gets an exception: the caller of the ENCLU, by a fixup, or the process, by a signal. One file a design.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "base/types.h"
#include "kernel/fixup/design.h"
#include "kernel/fixup/fixup_state.h"
#include "kernel/traps/traps.h"

namespace enclume::kernel {

/// Where the program goes on instead of getting a signal. Registers not named keep their values, RAX (the
/// leaf) among them.
struct Fixup {
  LinearAddress rip;
  std::uint64_t rdi = 0;             ///< vector
  std::uint64_t rsi = 0;             ///< error code
  std::uint64_t rdx = 0;             ///< address: page-masked CR2 after an AEX, 0 for all but #PF
  std::optional<std::uint64_t> rcx;  ///< design `per-mm`: address of the ENCLU

  friend bool operator==(const Fixup&, const Fixup&) = default;
};

struct Nothing {
  friend bool operator==(Nothing, Nothing) = default;
};
/// Nothing: go on at the same place.
using Delivery = std::variant<Nothing, Fixup, TrapSignal>;

/// The whole decision, from what is in the frame and the state alone. Signal context: safe.
[[nodiscard]] Delivery deliver(ExceptionDesign, const FixupState&, const TrapFrame&) noexcept;

// The designs: nothing if the exception is not fixed up. Signal context: safe, all of them.

/// `vdso`: as Linux's fixup_vdso_exception() and its callers. Not fixed up are another RIP, #DB and #BP,
/// vectors whose handler does not ask (#NM, #MC, #CP, …), spurious #MF and #XM.
[[nodiscard]] std::optional<Fixup> vdso_fixup(const FixupState&, const TrapFrame&) noexcept;
/// `vdso-registers`: the same table and the same rule; only the function that the table is for is another.
[[nodiscard]] std::optional<Fixup> vdso_registers_fixup(const FixupState&, const TrapFrame&) noexcept;
/// `per-mm`: whatever would become a signal, but for #DB and #BP, if a handler is registered and the bytes at
/// RIP are an ENCLU.
[[nodiscard]] std::optional<Fixup> per_mm_fixup(const FixupState&, const TrapFrame&) noexcept;
/// `signals`: never.
[[nodiscard]] std::optional<Fixup> no_fixup(const FixupState&, const TrapFrame&) noexcept;

}  // namespace enclume::kernel
