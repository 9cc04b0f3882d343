// SPDX-License-Identifier: Apache-2.0
// Instructions that are illegal in an enclave (SDM Vol. 3D of June 2016, 39.6, table 39-1), those that user
// code may not execute anywhere, and legal ones that an emulator breaks easily.
#include "cli/matrix/signals.h"

namespace enclume::cli::matrix {
namespace {

constexpr Places kOptOut = places(Place::kOptOut);
constexpr std::string_view kTable = "SDM table 39-1";
constexpr std::string_view kUnseen = "it is executed: it does not fault, and is not looked for";

constexpr Row undefined(std::string_view id, std::string_view what, std::string_view source = kTable) {
  return {.id = id,
          .where = kOptOut,
          .vector = "#UD",
          .what = what,
          .trigger = id,
          .exception = {6},
          .signal = kSigUd,
          .saved = {.is = true, .rip = {Ref::kSite}, .exitinfo = 0x80000306},
          .cssa = 1,
          .source = source};
}
constexpr Row legal(std::string_view id, std::string_view what, std::string_view source) {
  return {.id = id,
          .where = kOptOut,
          .vector = "none",
          .what = what,
          .trigger = id,
          .who = "NNNN",
          .source = source};
}
constexpr Row unseen(std::string_view id, std::string_view what, const Row& natively,
                     std::string_view why = kUnseen) {
  Row row = undefined(id, what);
  row.needs = Needs::kStrict;
  row.natively = &natively;
  row.why = why;
  return row;
}

constexpr Row kExecuted = legal("natively", "", "");
// A null selector takes FS's base away; the access to the thread's data that follows is to page 0. Where it
// leaves the base alone nothing happens.
constexpr Row kBaseLost = {
    .id = "natively",
    .vector = "#PF",
    .what = "",
    .exception = {14, 0x6},
    .signal = {SIGSEGV, SEGV_MAPERR, {Ref::kUnchecked}},
    .saved = {.is = true, .rip = {Ref::kUnchecked}, .exitinfo = 0x8000030e, .changed = "unrecorded"},
    .cssa = 1,
    .natively = &kExecuted};
constexpr Row kTwoLost = {
    .id = "natively",
    .vector = "#UD",
    .what = "",
    .exception = {6},
    .signal = kSigUd,
    .saved = {.is = true, .rip = {Ref::kSite}, .exitinfo = 0x80000306, .changed = "rcx r11"},
    .cssa = 1};
constexpr Row privileged(std::string_view id, std::string_view what,
                         std::string_view source = "SDM Vol. 2: #GP(0) if CPL > 0") {
  return {.id = id,
          .where = kOptOut,
          .vector = "#GP",
          .what = what,
          .trigger = id,
          .exception = {13},
          .signal = kSigGp,
          .saved = {.is = true, .rip = {Ref::kSite}, .exitinfo = 0x8000030d, .has_exinfo = true},
          .cssa = 1,
          .source = source};
}
constexpr Row kIllegal[] = {
    undefined("cpuid", "CPUID"),
    undefined("getsec", "GETSEC"),
    undefined("rdpmc", "RDPMC"),
    undefined("sgdt", "SGDT"),
    undefined("sidt", "SIDT"),
    undefined("sldt", "SLDT"),
    undefined("str", "STR"),
    undefined("smsw", "SMSW"),
    undefined("vmcall", "VMCALL"),
    undefined("vmfunc", "VMFUNC"),
    undefined("in", "IN AL, DX"),
    undefined("in-immediate", "IN AL, 80h"),
    undefined("out", "OUT DX, AL"),
    undefined("out-immediate", "OUT 80h, AL"),
    undefined("insb", "INSB"),
    undefined("insl", "INSD"),
    undefined("outsb", "OUTSB"),
    undefined("outsl", "OUTSD"),
    unseen("far-call", "far CALL", kExecuted),
    unseen("far-jmp", "far JMP", kExecuted),
    unseen("far-ret", "far RET", kExecuted),
    undefined("int-n", "INT 21h"),
    undefined("int-80", "INT 80h"),
    undefined("into", "INTO", "SDM Vol. 2: #UD in 64-bit mode"),
    unseen("iret", "IRET", kExecuted),
    undefined("lds", "LDS", "SDM Vol. 2: no such instruction in 64-bit mode; the bytes are no VEX either"),
    undefined("les", "LES", "SDM Vol. 2: no such instruction in 64-bit mode; the bytes are no VEX either"),
    undefined("lfs", "LFS"),
    undefined("lgs", "LGS"),
    undefined("lss", "LSS"),
    unseen("mov-ds", "MOV DS", kExecuted),
    unseen("mov-es", "MOV ES", kExecuted),
    unseen("mov-ss", "MOV SS", kExecuted),
    unseen("mov-fs", "MOV FS", kBaseLost, "it loses FS's base: it does not fault, and is not looked for"),
    unseen("mov-gs", "MOV GS", kExecuted),
    undefined("pop-ds", "POP DS", "SDM Vol. 2: no such instruction in 64-bit mode"),
    undefined("pop-es", "POP ES", "SDM Vol. 2: no such instruction in 64-bit mode"),
    undefined("pop-ss", "POP SS", "SDM Vol. 2: no such instruction in 64-bit mode"),
    undefined("pop-fs", "POP FS"),
    undefined("pop-gs", "POP GS"),
    unseen("syscall", "SYSCALL", kTwoLost,
           "the same, but RCX and R11 are overwritten by then: syscall user dispatch tells of it behind the "
           "instruction"),
    undefined("sysenter", "SYSENTER"),
    undefined("encls", "ENCLS", "SDM ENCLS: #UD if CPL > 0"),
    undefined("rsm", "RSM", "SDM Vol. 2: #UD outside SMM"),
    privileged("enclu-eenter", "ENCLU[EENTER]", "SDM ENCLU: #GP(0) in an enclave"),
    privileged("enclu-eresume", "ENCLU[ERESUME]", "SDM ENCLU: #GP(0) in an enclave"),
    privileged("enclu-unknown", "ENCLU, EAX = 7FFFh", "SDM ENCLU: #GP(0)"),
    privileged("eexit-non-canonical", "ENCLU[EEXIT] to a non-canonical address", "SDM EEXIT: #GP(0)"),
    privileged("hlt", "HLT"),
    privileged("cli", "CLI"),
    privileged("sti", "STI"),
    privileged("mov-cr", "MOV RAX, CR0"),
    privileged("mov-dr", "MOV RAX, DR0"),
    privileged("lgdt", "LGDT"),
    privileged("lidt", "LIDT"),
    privileged("lldt", "LLDT"),
    privileged("ltr", "LTR"),
    privileged("lmsw", "LMSW"),
    privileged("clts", "CLTS"),
    privileged("invd", "INVD"),
    privileged("wbinvd", "WBINVD"),
    privileged("invlpg", "INVLPG"),
    privileged("rdmsr", "RDMSR"),
    privileged("wrmsr", "WRMSR"),
    privileged("xsetbv", "XSETBV"),
    privileged("swapgs", "SWAPGS"),
    privileged("sysret", "SYSRET"),
};

constexpr Row kLegal[] = {
    legal("rdtsc", "RDTSC, legal since SGX2", "SDM 39.6.1 and the SGX2 chapter"),
    legal("rdtscp", "RDTSCP, legal since SGX2", "SDM 39.6.1 and the SGX2 chapter"),
    legal("rdrand", "RDRAND", "SDM 39.6.2"),
    legal("rdseed", "RDSEED", "SDM 39.6.2"),
    legal("pause", "PAUSE", "SDM 39.6.3"),
    legal("mfence", "MFENCE", "not in SDM table 39-1"),
    legal("clflush", "CLFLUSH of enclave memory", "not in SDM table 39-1"),
    legal("xgetbv", "XGETBV", "not in SDM table 39-1"),
    legal("rdfsbase", "RDFSBASE gives what EENTER loaded", "SDM EENTER"),
    legal("wrfsbase", "WRFSBASE takes effect", "SDM 39.6: legal if CR4.FSGSBASE"),
    legal("wrgsbase", "WRGSBASE takes effect", "SDM 39.6: legal if CR4.FSGSBASE"),
    legal("vzeroall", "VZEROALL, AVX in XFRM", "SDM 42.7.1"),
    legal("xsave", "XSAVE with an all-ones mask", "SDM 42.7: masked by XCR0, which is XFRM"),
    legal("xrstor", "XRSTOR of that with an all-ones mask", "SDM 42.7: masked by XCR0, which is XFRM"),
    legal("rep-movs-across", "REP MOVSB across pages", "not in SDM table 39-1"),
};

}  // namespace

std::span<const Row> illegal_rows() {
  return kIllegal;
}
std::span<const Row> legal_rows() {
  return kLegal;
}

}  // namespace enclume::cli::matrix
