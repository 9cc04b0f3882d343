// SPDX-License-Identifier: Apache-2.0
#include "kernel/traps/traps.h"

#include <csignal>

#include "arch/enclu/debug.h"

namespace enclume::kernel {

namespace {

/// SEGV_CPERR, younger than the C library's headers.
constexpr int kSegvCperr = 10;

TrapSignal without_address(int signo) {
  return {signo, SI_KERNEL, {}};
}

std::optional<TrapSignal> page_fault_signal(const TrapFrame& f) {
  switch (f.page_fault) {
    case FaultResolution::Resolved:
      return std::nullopt;
    case FaultResolution::BadMapping:
      return TrapSignal{SIGSEGV, SEGV_MAPERR, f.address};
    case FaultResolution::BadAccess:
      return TrapSignal{SIGSEGV, SEGV_ACCERR, f.address};
    case FaultResolution::BadKey:
      return TrapSignal{SIGSEGV, SEGV_PKUERR, f.address};
    case FaultResolution::Bus:
      return TrapSignal{SIGBUS, BUS_ADRERR, f.address};
  }
  return std::nullopt;
}

/// exc_debug_user(), get_si_code()
std::optional<TrapSignal> debug_signal(const TrapFrame& f) {
  if (f.dr6 != 0 && (f.dr6 & (arch::dr6::kSingleStep | arch::dr6::kBreakpoints)) == 0) {
    return std::nullopt;
  }
  int code = TRAP_BRKPT;
  if ((f.dr6 & arch::dr6::kSingleStep) != 0) {
    code = TRAP_TRACE;
  } else if ((f.dr6 & arch::dr6::kBreakpoints) != 0) {
    code = TRAP_HWBKPT;
  }
  return TrapSignal{SIGTRAP, code, f.rip};
}

}  // namespace

std::uint32_t sanitized_error_code(const TrapFrame& f) noexcept {
  const bool kernel_address = f.vector == arch::Vector::PF && f.address.value() >= kTaskSizeMax;
  return kernel_address ? f.error_code | arch::pfec::kPresent : f.error_code;
}

int fpu_exception_code(const TrapFrame& f) noexcept {
  const std::uint32_t unmasked = f.vector == arch::Vector::MF
                                     ? static_cast<std::uint32_t>(f.fsw) & ~static_cast<std::uint32_t>(f.fcw)
                                     : ~(f.mxcsr >> 7) & f.mxcsr;
  if ((unmasked & 0x01) != 0) {
    return FPE_FLTINV;
  }
  if ((unmasked & 0x04) != 0) {
    return FPE_FLTDIV;
  }
  if ((unmasked & 0x08) != 0) {
    return FPE_FLTOVF;
  }
  if ((unmasked & 0x12) != 0) {
    return FPE_FLTUND;
  }
  if ((unmasked & 0x20) != 0) {
    return FPE_FLTRES;
  }
  return 0;
}

std::optional<TrapSignal> trap_signal(const TrapFrame& f) noexcept {
  switch (f.vector) {
    case arch::Vector::DE:
      return TrapSignal{SIGFPE, FPE_INTDIV, f.rip};
    case arch::Vector::DB:
      return debug_signal(f);
    case arch::Vector::BP:
      return without_address(SIGTRAP);
    case arch::Vector::OF:
    case arch::Vector::BR:
    case arch::Vector::TS:
    case arch::Vector::GP:
      return without_address(SIGSEGV);
    case arch::Vector::UD:
      return TrapSignal{SIGILL, ILL_ILLOPN, f.rip};
    case arch::Vector::NM:
      // A feature that XFD keeps from the process: arch_prctl() was not asked for it.
      return TrapSignal{SIGILL, ILL_ILLOPC, f.rip};
    case arch::Vector::NP:
    case arch::Vector::SS:
      return without_address(SIGBUS);
    case arch::Vector::PF:
      return page_fault_signal(f);
    case arch::Vector::MF:
    case arch::Vector::XM: {
      const int code = fpu_exception_code(f);
      return code == 0 ? std::nullopt : std::optional(TrapSignal{SIGFPE, code, f.rip});
    }
    case arch::Vector::AC:
      return TrapSignal{SIGBUS, BUS_ADRALN, {}};
    case arch::Vector::CP:
      return TrapSignal{SIGSEGV, kSegvCperr, {}};
    case arch::Vector::NMI:
    case arch::Vector::DF:
    case arch::Vector::MC:
    case arch::Vector::VE:
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace enclume::kernel
