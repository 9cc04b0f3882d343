// SPDX-License-Identifier: Apache-2.0
#include "kernel/fixup/fixup.h"

namespace enclume::kernel {

namespace {

std::optional<Fixup> fixup_by(ExceptionDesign design, const std::optional<FixupSite>& site,
                              const TrapFrame& frame) {
  switch (design) {
    case ExceptionDesign::Vdso:
      return site ? vdso_fixup(*site, frame) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

Delivery deliver(ExceptionDesign design, const std::optional<FixupSite>& site,
                 const TrapFrame& frame) noexcept {
  if (const auto fixup = fixup_by(design, site, frame)) {
    return *fixup;
  }
  if (const auto signal = trap_signal(frame)) {
    return *signal;
  }
  return Nothing{};
}

}  // namespace enclume::kernel
