// SPDX-License-Identifier: Apache-2.0
// Which signal Linux 6.12 makes of which exception, for the rows. Literal, with its source beside it.
#pragma once

#include <csignal>

#include "cli/matrix/row.h"

namespace enclume::cli::matrix {

// arch/x86/kernel/traps.c
inline constexpr Signal kSigDe = {SIGFPE, FPE_INTDIV, {Ref::kAep}};     // exc_divide_error
inline constexpr Signal kSigBp = {SIGTRAP, SI_KERNEL, {}};              // do_int3_user: no address
inline constexpr Signal kSigStep = {SIGTRAP, TRAP_TRACE, {Ref::kAep}};  // exc_debug_user, get_si_code
inline constexpr Signal kSigInt1 = {SIGTRAP, TRAP_BRKPT, {Ref::kAep}};  // the same, DR6 empty
inline constexpr Signal kSigOf = {SIGSEGV, SI_KERNEL, {}};              // exc_overflow
inline constexpr Signal kSigUd = {SIGILL, ILL_ILLOPN, {Ref::kAep}};     // handle_invalid_op
inline constexpr Signal kSigSs = {SIGBUS, SI_KERNEL, {}};               // exc_stack_segment
inline constexpr Signal kSigGp = {SIGSEGV, SI_KERNEL, {}};              // exc_general_protection
inline constexpr Signal kSigAc = {SIGBUS, BUS_ADRALN, {}};              // exc_alignment_check
inline constexpr Signal kSigFpu = {SIGFPE, FPE_FLTINV, {Ref::kAep}};    // math_error on synthetic state
// arch/x86/mm/fault.c
inline constexpr Signal kSigMap = {SIGSEGV, SEGV_MAPERR, {Ref::kOperandPage}};  // bad_area
inline constexpr Signal kSigAcc = {SIGSEGV, SEGV_ACCERR, {Ref::kOperandPage}};  // bad_area_access_error

// The same exception at another RIP than the AEP.
[[nodiscard]] constexpr Signal at(Signal signal, Ref where) {
  if (signal.address.ref == Ref::kAep) signal.address.ref = where;
  return signal;
}

}  // namespace enclume::cli::matrix
