// SPDX-License-Identifier: Apache-2.0
// What is not of the enclave, but near: the AEP, host code, handlers. Linux looks at RIP alone, so what is
// there decides (arch/x86/entry/vdso/extable.c; RFC v3 of 10 December 2018: "whose IP is an ENCLU").
#include "cli/matrix/signals.h"

namespace enclume::cli::matrix {
namespace {

constexpr Places kAep = places(Place::kAep);

constexpr Places kHost = places(Place::kBeforeEnclu, Place::kNearBy, Place::kUserHandler);

constexpr Saved at_site(std::uint32_t exitinfo) {
  return {.is = true, .rip = {Ref::kSite}, .exitinfo = exitinfo};
}

// A fault of host code: nobody but a signal handler gets it. In a handler of vdso-registers' there is none.
constexpr Row fault(std::string_view id, std::string_view vector, std::string_view what,
                    std::string_view trigger, const Exception& exception, const Signal& signal,
                    std::string_view source) {
  return {.id = id,
          .where = kHost,
          .vector = vector,
          .what = what,
          .trigger = trigger,
          .who = "SSSS",
          .exception = exception,
          .signal = at(signal, Ref::kSite),
          .state = State::kHost,
          .rip = {Ref::kSite},
          .source = source};
}
constexpr Row floating(Row row, const Signal& signal) {
  row.signal = signal;
  return row;
}
// Traps leave RIP behind the instruction.
constexpr Row trap(Places where, std::string_view id, std::string_view vector, std::string_view what,
                   std::string_view trigger, int number, const Signal& signal, std::string_view source) {
  return {.id = id,
          .where = where,
          .vector = vector,
          .what = what,
          .trigger = trigger,
          .who = "SSSS",
          .exception = {number},
          .signal = at(signal, Ref::kAfterSite),
          .state = State::kHost,
          .rip = {Ref::kAfterSite},
          .source = source};
}
// INT1 as some hypervisors hand it on.
constexpr Row kInt1AsFault = {.id = "natively",
                              .vector = "#DB",
                              .what = "",
                              .who = "SSSS",
                              .exception = {1},
                              .signal = at(kSigInt1, Ref::kSite),
                              .state = State::kHost,
                              .rip = {Ref::kSite}};
constexpr Row unvirtualised(Row row) {
  row.needs = Needs::kNoHypervisor;
  row.natively = &kInt1AsFault;
  row.why = "one that intercepts #DB may hand it on as a fault, with RIP at the INT1";
  return row;
}
constexpr Row with_who(Row row, std::string_view who) {
  row.who = who;
  row.leaf = 2;  // RAX, for the EENTER that was to come
  return row;
}
constexpr Signal kFltDiv = {SIGFPE, FPE_FLTDIV, {Ref::kSite}};
constexpr Signal kMap = {SIGSEGV, SEGV_MAPERR, {Ref::kOperand}};
constexpr Signal kAcc = {SIGSEGV, SEGV_ACCERR, {Ref::kOperand}};

constexpr Row kRows[] = {
    {.id = "exception-enclu",
     .where = kAep,
     .vector = "#UD",
     .what = "UD2 inside; the AEP is an ENCLU of the "
             "program, not the vDSO's",
     .trigger = "aep-enclu",
     .who = "SSHS",
     .exception = {6},
     .signal = kSigUd,
     .saved = at_site(0x80000306),
     .cssa = 1,
     .source = "extable.c: the vDSO's ENCLU only; RFC v3: any ENCLU"},
    {.id = "exception-other",
     .where = kAep,
     .vector = "#UD",
     .what = "UD2 inside; the AEP is a NOP",
     .trigger = "aep-nop",
     .who = "SSSS",
     .exception = {6},
     .signal = kSigUd,
     .saved = at_site(0x80000306),
     .cssa = 1,
     .source = "extable.c; RFC v3: the bytes at RIP are no ENCLU"},
    {.id = "exception-hole",
     .where = kAep,
     .vector = "#UD",
     .what = "UD2 inside; nothing is mapped at the AEP",
     .trigger = "aep-hole",
     .who = "SSSS",
     .exception = {6},
     .signal = kSigUd,
     .saved = at_site(0x80000306),
     .cssa = 1,
     .source = "SDM 40.4: the exception is delivered before anything is fetched at the AEP"},
    {.id = "interrupt-ud2",
     .where = kAep,
     .vector = "interrupt",
     .what = "an interrupt; the AEP is UD2",
     .trigger = "interrupt-ud2",
     .who = "SSSS",
     .exception = {6},
     .signal = kSigUd,
     .saved = {.is = true, .rip = {Ref::kLoop}, .exitinfo = 0, .rf = false},
     .cssa = 1,
     .source = "SDM 40.4; then a fault of host code"},
    {.id = "interrupt-int3",
     .where = kAep,
     .vector = "interrupt",
     .what = "an interrupt; the AEP is INT3",
     .trigger = "interrupt-int3",
     .who = "SSSS",
     .exception = {3},
     .signal = kSigBp,
     .rip = {Ref::kAfterAep},
     .saved = {.is = true, .rip = {Ref::kLoop}, .exitinfo = 0, .rf = false},
     .cssa = 1,
     .source = "SDM 40.4; then a trap of host code"},
    {.id = "interrupt-load",
     .where = kAep,
     .vector = "interrupt",
     .what = "an interrupt; the AEP reads 18h",
     .trigger = "interrupt-load",
     .who = "SSSS",
     .exception = {14, 0x4, {Ref::kOperand}},
     .signal = kMap,
     .saved = {.is = true, .rip = {Ref::kLoop}, .exitinfo = 0, .rf = false},
     .cssa = 1,
     .source = "SDM 40.4; then a fault of host code, address whole"},
    {.id = "interrupt-hole",
     .where = kAep,
     .vector = "interrupt",
     .what = "an interrupt; nothing is mapped at the AEP",
     .trigger = "interrupt-hole",
     .who = "SSSS",
     .exception = {14, 0x14, {Ref::kAep}},
     .signal = {SIGSEGV, SEGV_MAPERR, {Ref::kAep}},
     .saved = {.is = true, .rip = {Ref::kLoop}, .exitinfo = 0, .rf = false},
     .cssa = 1,
     .source = "SDM 40.4; then a fetch of host code, address whole"},

    fault("DE", "#DE", "DIV by zero", "divide", {0}, kSigDe, "traps.c exc_divide_error"),
    unvirtualised(trap(places(Place::kNearBy, Place::kUserHandler), "DB-int1", "#DB", "INT1", "int1", 1,
                       kSigInt1, "traps.c exc_debug_user")),
    unvirtualised(trap(places(Place::kBeforeEnclu), "DB-int1", "#DB", "INT1, so RIP is at the ENCLU", "int1",
                       1, kSigInt1, "traps.c exc_debug_user; extable.c and RFC v3: never #DB")),
    {.id = "DB-step",
     .where = places(Place::kBeforeEnclu),
     .vector = "#DB",
     .what = "RFLAGS.TF: RIP is at the ENCLU",
     .trigger = "step",
     .who = "SSSS",
     .exception = {1},
     .signal = kSigStep,
     .state = State::kEnclu,
     .leaf = 2,
     .source = "traps.c exc_debug_user; extable.c and RFC v3: never #DB"},
    {.id = "DB-step-function",
     .where = places(Place::kBeforeEnclu),
     .vector = "#DB",
     .what = "RFLAGS.TF all the way to the vDSO function's own ENCLU: not taken for its exception",
     .trigger = "step-function",
     .who = "SS--",
     .exception = {1},
     .signal = kSigStep,
     .state = State::kEnclu,
     .leaf = 2,
     .source = "traps.c exc_debug_user; extable.c: never #DB; LKML 23 Apr 2019"},
    trap(places(Place::kNearBy, Place::kUserHandler), "BP", "#BP", "INT3", "int3", 3, kSigBp,
         "traps.c do_int3_user"),
    trap(places(Place::kBeforeEnclu), "BP", "#BP", "INT3, so RIP is at the ENCLU", "int3", 3, kSigBp,
         "traps.c do_int3_user; extable.c and RFC v3: never #BP"),
    trap(places(Place::kNearBy, Place::kUserHandler), "OF", "#OF", "INT 4, whose gate is open to user code",
         "int-4", 4, kSigOf, "idt.c SYSG(X86_TRAP_OF); traps.c exc_overflow"),
    with_who(trap(places(Place::kBeforeEnclu), "OF", "#OF", "INT 4, so RIP is at an ENCLU of the program",
                  "int-4", 4, kSigOf, "RFC v3: it cannot tell a trap from a fault of the ENCLU"),
             "SSHS"),
    fault("UD", "#UD", "UD2", "ud2", {6}, kSigUd, "traps.c handle_invalid_op"),
    fault("SS", "#SS", "non-canonical address by RBP", "non-canonical-stack", {12}, kSigSs,
          "traps.c exc_stack_segment"),
    fault("GP", "#GP", "non-canonical address", "non-canonical-load", {13}, kSigGp,
          "traps.c exc_general_protection"),
    fault("GP-hlt", "#GP", "HLT", "hlt", {13}, kSigGp, "traps.c exc_general_protection"),
    fault("GP-int-n", "#GP", "INT 21h: error code is gate and IDT bit", "int-n", {13, 0x21 * 8 + 2}, kSigGp,
          "SDM Vol. 3A 6.13; traps.c exc_general_protection"),
    fault("PF", "#PF", "read of nothing: the address is whole", "read", {14, 0x4, {Ref::kOperand}}, kMap,
          "fault.c bad_area"),
    fault("PF-write", "#PF", "write to a read-only page", "write", {14, 0x7, {Ref::kOperand}}, kAcc,
          "fault.c access_error"),
    floating(fault("MF", "#MF", "FWAIT after an unmasked x87 division by zero", "x87-divide", {16}, kFltDiv,
                   "traps.c math_error: the real reason, not the synthetic one"),
             kFltDiv),
    fault("AC", "#AC", "unaligned read, RFLAGS.AC set", "unaligned", {17}, kSigAc,
          "traps.c exc_alignment_check"),
    floating(fault("XM", "#XM", "unmasked SSE division by zero", "sse-divide", {19}, kFltDiv,
                   "traps.c math_error: the real reason, not the synthetic one"),
             kFltDiv),
    {.id = "nested",
     .where = places(Place::kUserHandler),
     .vector = "#UD",
     .what = "enters the enclave again, where UD2 is executed: found by the inner entry",
     .trigger = "enter-again",
     .exception = {6},
     .signal = kSigUd,
     .saved = at_site(0x80000306),
     .cssa = 2,
     .source = "SDM 40.4; vsgx.S: each call has its own frame"},
};

}  // namespace

std::span<const Row> host_rows() {
  return kRows;
}

}  // namespace enclume::cli::matrix
