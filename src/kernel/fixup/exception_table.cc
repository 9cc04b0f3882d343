// SPDX-License-Identifier: Apache-2.0
// Linux: arch/x86/entry/vdso/extable.c, and who calls fixup_vdso_exception().
#include "kernel/fixup/exception_table.h"

namespace enclume::kernel {

namespace {

/// Whether the vector's handler asks for a fixup before it makes a signal.
bool handler_asks(const TrapFrame& f) {
  switch (f.vector) {
    case arch::Vector::DE:
    case arch::Vector::OF:
    case arch::Vector::BR:
    case arch::Vector::UD:
    case arch::Vector::TS:
    case arch::Vector::NP:
    case arch::Vector::SS:
    case arch::Vector::AC:
    case arch::Vector::GP:
      return true;
    case arch::Vector::PF:
      return f.page_fault != FaultResolution::Resolved;
    case arch::Vector::MF:
    case arch::Vector::XM:
      return fpu_exception_code(f) != 0;
    case arch::Vector::DB:  // asked, and refused: an enclave's can't be told from the host's
    case arch::Vector::BP:
    case arch::Vector::NMI:
    case arch::Vector::NM:
    case arch::Vector::DF:
    case arch::Vector::MC:
    case arch::Vector::VE:
    case arch::Vector::CP:
      return false;
  }
  return false;
}

}  // namespace

std::optional<Fixup> exception_table_fixup(const std::optional<FixupSite>& site,
                                           const TrapFrame& f) noexcept {
  if (!site || f.rip != site->instruction || !handler_asks(f)) {
    return std::nullopt;
  }
  return Fixup{
      .rip = site->fixup,
      .rdi = static_cast<std::uint64_t>(f.vector),
      .rsi = sanitized_error_code(f),
      .rdx = f.vector == arch::Vector::PF ? f.address.value() : 0,
      .rcx = {},
  };
}

}  // namespace enclume::kernel
