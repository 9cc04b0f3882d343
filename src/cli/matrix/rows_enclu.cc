// SPDX-License-Identifier: Apache-2.0
// ENCLU that faults itself: EENTER and ERESUME, one row for each reason of their pseudocode that a program
// can bring about. Sources: SDM EENTER, ERESUME, ENCLU, in the order of their checks. The processor is not in
// enclave mode then: registers stay as they are, addresses whole, no frame is written. Error codes of #PF at
// operands: bits P, U, SGX and W where the check demands write; docs/fidelity.md says that this was decided.
#include "cli/matrix/signals.h"

namespace enclume::cli::matrix {
namespace {

constexpr Places kEenter = places(Place::kEenter);
constexpr Places kEresume = places(Place::kEresume);
constexpr Places kBoth = places(Place::kEenter, Place::kEresume);

// The leaf in RAX is that of the place, which compare.cc knows.
constexpr Row gp(Places where, std::string_view id, std::string_view what, std::string_view source,
                 std::string_view who = "FFHS") {
  return {.id = id,
          .where = where,
          .vector = "#GP",
          .what = what,
          .trigger = id,
          .who = who,
          .exception = {13},
          .signal = kSigGp,
          .state = State::kEnclu,
          .leaf = 0,
          .rip = {Ref::kEnclu},
          .source = source};
}
constexpr Row pf(Places where, std::string_view id, std::string_view what, std::uint32_t error,
                 const Signal& signal, std::string_view source) {
  return {.id = id,
          .where = where,
          .vector = "#PF",
          .what = what,
          .trigger = id,
          .exception = {14, error, {Ref::kOperand}},
          .signal = at(signal, Ref::kOperand),
          .state = State::kEnclu,
          .leaf = 0,
          .rip = {Ref::kEnclu},
          .source = source};
}
constexpr Row sgx2(Row row) {
  row.needs = Needs::kSgx2;
  row.why = "needs SGX2";
  return row;
}
constexpr Row impossible(Places where, std::string_view id, std::string_view vector, std::string_view what,
                         std::string_view why, std::string_view source) {
  return {.id = id,
          .where = where,
          .vector = vector,
          .what = what,
          .who = "----",
          .needs = Needs::kNobody,
          .why = why,
          .source = source};
}

constexpr Signal kMap = {SIGSEGV, SEGV_MAPERR, {Ref::kOperand}};
constexpr Signal kAcc = {SIGSEGV, SEGV_ACCERR, {Ref::kOperand}};

constexpr Row kEenterRows[] = {
    impossible(kBoth, "no-sgx", "#UD", "CR0.PE = 0, no SGX in CPUID, after a machine check",
               "the kernel would not run programs, or would have no device", "SDM ENCLU; 42.15"),
    impossible(kBoth, "cr0-ts", "#NM", "CR0.TS = 1", "Linux never sets CR0.TS", "SDM ENCLU"),
    impossible(kBoth, "feature-control", "#GP", "IA32_FEATURE_CONTROL forbids, CR0.NE = 0",
               "there would be no device", "SDM ENCLU"),
    {.id = "lock",
     .where = kEenter,
     .vector = "#UD",
     .what = "LOCK ENCLU: its bytes are no ENCLU",
     .trigger = "lock",
     .who = "SSSS",
     .exception = {6},
     .signal = at(kSigUd, Ref::kSite),
     .state = State::kEnclu,
     .leaf = 0,
     .rip = {Ref::kSite},
     .source = "SDM ENCLU: LOCK is #UD"},
    gp(kEenter, "leaf-unknown", "EAX = 7FFFh, at an ENCLU of the program", "SDM ENCLU", "SSHS"),
    gp(kEenter, "leaf-ereport", "EREPORT outside, at an ENCLU of the program", "SDM ENCLU", "SSHS"),
    gp(kBoth, "tcs-unaligned", "RBX not page aligned", "SDM EENTER, ERESUME"),
    pf(kBoth, "tcs-hole", "RBX points to no mapping", 0x6, kMap, "page walk; fault.c bad_area"),
    pf(kBoth, "tcs-protected", "TCS mapped PROT_NONE", 0x6, kAcc, "page walk; fault.c access_error"),
    pf(kBoth, "tcs-host", "RBX points to host memory", 0x8005, kAcc, "SDM: not in EPC, #PF(RBX)"),
    gp(kBoth, "aep-non-canonical", "RCX not canonical, at an ENCLU of the program", "SDM EENTER, ERESUME",
       "SSHS"),
    impossible(kBoth, "tcs-locked", "#GP", "another SGX instruction has the TCS at this moment",
               "a race that nobody can hold open; tcs-busy is what a program sees", "SDM EENTER, ERESUME"),
    pf(kBoth, "tcs-is-data", "RBX points to a page that is no TCS", 0x8005, kAcc, "SDM: PT_TCS, #PF(RBX)"),
    sgx2(pf(kBoth, "tcs-pending", "RBX points to no page: Linux adds one by EAUG", 0x8005, kAcc,
            "SDM: PENDING, PT_TCS; sgx/encl.c sgx_encl_eaug_page")),
    sgx2(pf(kBoth, "tcs-trimmed", "TCS trimmed by EMODT", 0x8005, kAcc, "SDM: MODIFIED, #PF(RBX)")),
    impossible(kBoth, "tcs-blocked", "#PF", "TCS blocked by EBLOCK",
               "Linux blocks a page only to evict it, and unmaps it first: the fault loads it back",
               "sgx/main.c sgx_reclaimer_block"),
    gp(kBoth, "ossa-unaligned", "OSSA not page aligned", "SDM EENTER, ERESUME"),
    gp(kBoth, "ofsbase-unaligned", "OFSBASE not page aligned", "SDM EENTER, ERESUME"),
    gp(kBoth, "ogsbase-unaligned", "OGSBASE not page aligned", "SDM EENTER, ERESUME"),
    gp(kBoth, "flags-reserved", "a reserved bit of TCS.FLAGS", "SDM EENTER, ERESUME"),
    gp(kEenter, "not-initialised", "before EINIT", "SDM EENTER"),
    gp(kEenter, "mode32", "ATTRIBUTES.MODE64BIT = 0, from 64-bit code", "SDM EENTER"),
    impossible(kBoth, "xfrm", "#GP", "XFRM beyond XCR0", "ECREATE refuses it, and Linux never narrows XCR0",
               "SDM ECREATE, EENTER"),
    gp(kBoth, "aex-notify", "TCS.FLAGS.AEXNOTIFY, but not ATTRIBUTES.AEXNOTIFY",
       "SDM EENTER (a reserved bit where the processor has no AEX-Notify)"),
    gp(kEenter, "no-frames", "NSSA = 0", "SDM EENTER: CSSA < NSSA"),
    gp(kEenter, "frames-used-up", "an exception again in the last frame's handler: CSSA = NSSA",
       "SDM EENTER: CSSA < NSSA"),
    pf(kEenter, "ssa-hole", "the SSA frame is not mapped", 0x6, kMap, "page walk; fault.c bad_area"),
    pf(kEenter, "ssa-read-only", "the SSA frame is mapped read-only", 0x7, kAcc,
       "page walk; fault.c access_error"),
    pf(kEenter, "ssa-protected", "the SSA frame is mapped PROT_NONE", 0x6, kAcc,
       "page walk; fault.c access_error"),
    sgx2(pf(kEenter, "ssa-restricted", "the SSA frame is read-only in the EPCM", 0x8007, kAcc,
            "SDM EENTER: R = W = 1")),
    pf(kEenter, "ssa-is-tcs", "the SSA frame is a TCS", 0x8007, kAcc, "SDM EENTER: PT_REG"),
    gp(kEenter, "entry-non-canonical", "BASEADDR + OENTRY not canonical", "SDM EENTER"),
    gp(kEenter, "fs-non-canonical", "BASEADDR + OFSBASE not canonical", "SDM EENTER"),
    gp(kEenter, "gs-non-canonical", "BASEADDR + OGSBASE not canonical", "SDM EENTER"),
    gp(kBoth, "tcs-busy", "another thread is inside by this TCS", "SDM: STATE"),
    {.id = "tcs-untouched",
     .where = kEenter,
     .vector = "#PF",
     .what = "first touch of TCS and frame",
     .trigger = "tcs-untouched",
     .who = "NNNN",
     .source = "sgx/encl.c sgx_vma_fault"},
};

constexpr Row kEresumeRows[] = {
    gp(kEresume, "cssa-0", "nothing to resume: CSSA = 0", "SDM ERESUME"),
    pf(kEresume, "frame-protected", "the SSA frame is mapped PROT_NONE", 0x6, kAcc,
       "page walk; fault.c access_error"),
    sgx2(pf(kEresume, "frame-restricted", "the SSA frame is read-only in the EPCM", 0x8007, kAcc,
            "SDM ERESUME: R = W = 1")),
    gp(kEresume, "rip-non-canonical", "SSA.RIP not canonical", "SDM ERESUME"),
    gp(kEresume, "fsbase-non-canonical", "SSA.FSBASE not canonical", "SDM ERESUME"),
    gp(kEresume, "gsbase-non-canonical", "SSA.GSBASE not canonical", "SDM ERESUME"),
    gp(kEresume, "xstate-bv", "XSTATE_BV of the frame beyond XFRM", "SDM ERESUME: XRSTOR faults"),
    gp(kEresume, "xsave-header", "a reserved byte of the frame's XSAVE header", "SDM ERESUME: XRSTOR faults"),
    gp(kEresume, "mxcsr", "a reserved bit of the frame's MXCSR", "SDM ERESUME: XRSTOR faults"),
    {.id = "rip-outside",
     .where = kEresume,
     .vector = "#GP",
     .what = "SSA.RIP outside ELRANGE: ERESUME succeeds, the fetch faults in the enclave",
     .trigger = "rip-outside",
     .exception = {13},
     .signal = kSigGp,
     .saved = {.is = true,
               .rip = {Ref::kOperand},
               .exitinfo = 0x8000030d,
               .has_exinfo = true,
               .changed = "unrecorded"},
     .source = "SDM ERESUME: SSA.RIP has to be canonical only; 38.5.3"},
};

}  // namespace

std::span<const Row> eenter_rows() {
  return kEenterRows;
}
std::span<const Row> eresume_rows() {
  return kEresumeRows;
}

}  // namespace enclume::cli::matrix
