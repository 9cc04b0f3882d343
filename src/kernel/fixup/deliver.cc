// SPDX-License-Identifier: Apache-2.0
#include "kernel/fixup/fixup.h"

namespace enclume::kernel {

namespace {

std::optional<Fixup> fixup_by(ExceptionDesign design, const FixupState& state, const TrapFrame& frame) {
  switch (design) {
    case ExceptionDesign::Vdso:
      return vdso_fixup(state, frame);
    case ExceptionDesign::VdsoRegisters:
      return vdso_registers_fixup(state, frame);
    case ExceptionDesign::PerMm:
      return per_mm_fixup(state, frame);
    case ExceptionDesign::Signals:
      return no_fixup(state, frame);
  }
  return std::nullopt;
}

}  // namespace

Delivery deliver(ExceptionDesign design, const FixupState& state, const TrapFrame& frame) noexcept {
  if (const auto fixup = fixup_by(design, state, frame)) {
    return *fixup;
  }
  if (const auto signal = trap_signal(frame)) {
    return *signal;
  }
  return Nothing{};
}

}  // namespace enclume::kernel
