// SPDX-License-Identifier: Apache-2.0
#include "conformance/fixup_support.h"

#include <sys/time.h>

#include "enclume/host/vdso_symbol.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kOwnTcs = PROBE_THREADS;

EnclaveException raise(const char* name, std::uint64_t instruction, int vector, int signal, int code,
                       bool has_address) {
  return {.name = name,
          .operation = PROBE_OP_RAISE,
          .in = instruction,
          .in_is_offset = false,
          .vector = static_cast<std::uint64_t>(vector),
          .error_code = 0,
          .page = 0,
          .signal = signal,
          .code = code,
          .code_has_address = has_address};
}

EnclaveException page_fault(const char* name, std::uint64_t operation, std::uint64_t offset,
                            std::uint64_t error_code) {
  return {.name = name,
          .operation = operation,
          .in = offset,
          .in_is_offset = true,
          .vector = static_cast<std::uint64_t>(kVectorPf),
          .error_code = error_code,
          .page = offset & ~(kPage - 1),
          .signal = SIGSEGV,
          .code = SEGV_ACCERR,
          .code_has_address = true};
}

}  // namespace

void PrintTo(const EnclaveException& exception, std::ostream* out) {
  *out << exception.name;
}
void PrintTo(const EntryFault& fault, std::ostream* out) {
  *out << fault.name;
}

// Signals: Linux 6.12, arch/x86/kernel/traps.c and arch/x86/mm/fault.c.
const std::vector<EnclaveException>& enclave_exceptions() {
  static const std::vector<EnclaveException> all = {
      raise("Ud", PROBE_RAISE_UD2, kVectorUd, SIGILL, ILL_ILLOPN, true),
      raise("De", PROBE_RAISE_DIVIDE, kVectorDe, SIGFPE, FPE_INTDIV, true),
      raise("Gp", PROBE_RAISE_NON_CANONICAL_LOAD, kVectorGp, SIGSEGV, SI_KERNEL, false),
      raise("Ss", PROBE_RAISE_NON_CANONICAL_STACK, kVectorSs, SIGBUS, SI_KERNEL, false),
      raise("Ac", PROBE_RAISE_UNALIGNED, kVectorAc, SIGBUS, BUS_ADRALN, false),
      raise("Xm", PROBE_RAISE_SSE_DIVIDE, kVectorXm, SIGFPE, FPE_FLTINV, true),
      raise("Mf", PROBE_RAISE_X87_DIVIDE, kVectorMf, SIGFPE, FPE_FLTINV, true),
      page_fault("PfOfThePageTable", PROBE_OP_WRITE, 0x123, kPfPresent | kPfWrite | kPfUser),
      page_fault("PfOfTheEpcm", PROBE_OP_READ, kOwnTcs + 16, kPfPresent | kPfUser | kPfSgx),
  };
  return all;
}

const std::vector<EntryFault>& entry_faults() {
  constexpr auto kEenter = static_cast<std::uint32_t>(Leaf::kEenter);
  constexpr auto kEresume = static_cast<std::uint32_t>(Leaf::kEresume);
  constexpr auto kGp = static_cast<std::uint64_t>(kVectorGp);
  constexpr auto kPf = static_cast<std::uint64_t>(kVectorPf);
  constexpr std::uint64_t kSgxFault = kPfPresent | kPfUser | kPfSgx;
  static const std::vector<EntryFault> all = {
      {"EenterByAMisalignedTcs", kEenter, 8, kGp, 0, false},
      {"EenterByAPageThatIsNoTcs", kEenter, std::uint64_t{PROBE_SCRATCH} - kOwnTcs, kPf, kSgxFault, true},
      {"EresumeWithoutAFrame", kEresume, 0, kGp, 0, false},
      {"EresumeByAMisalignedTcs", kEresume, 1, kGp, 0, false},
      {"EresumeByAPageThatIsNoTcs", kEresume, std::uint64_t{PROBE_SCRATCH} - kOwnTcs, kPf, kSgxFault, true},
      {"NoLeafOfTheOutside", 4, 0, kGp, 0, false},
      {"LeafZero", 0, 0, kGp, 0, false},
      {"UnknownLeaf", 0x80000002, 0, kGp, 0, false},
  };
  return all;
}

void PrintTo(const SoftwareTrap& trap, std::ostream* out) {
  *out << trap.name;
}

const std::vector<SoftwareTrap>& software_traps() {
  static const std::vector<SoftwareTrap> all = {
      {"Int3", PROBE_RAISE_INT3, static_cast<std::uint64_t>(kVectorBp), SI_KERNEL},
      {"Int1", PROBE_RAISE_INT1, static_cast<std::uint64_t>(kVectorDb), TRAP_BRKPT}};
  return all;
}

TrapsSeen watch_for_traps(const DebuggedProbe& probe, const SoftwareTrap& trap,
                          const std::function<void()>& enter) {
  static TrapsSeen seen;
  static const DebuggedProbe* debugged;
  static std::uint64_t behind;
  seen = {};
  debugged = &probe;
  behind = probe.base() + raise_site(trap.instruction).next;
  const ScopedSigaction handler(SIGTRAP, [](int, siginfo_t* info, void* raw) {
    const auto& registers = static_cast<ucontext_t*>(raw)->uc_mcontext.gregs;
    seen.count += 1;
    seen.code = info->si_code;
    seen.vector = static_cast<std::uint64_t>(registers[REG_TRAPNO]);
    seen.rip = static_cast<std::uint64_t>(registers[REG_RIP]);
    seen.rax = static_cast<std::uint64_t>(registers[REG_RAX]);
    debugged->set_newest_rip(behind);
  });
  enter();
  return seen;
}

std::uint64_t current_ssa(const ProbeEnclave& probe, unsigned thread) {
  RegisterFile seen{};
  const CallResult look = probe.call(PROBE_OP_ENTRY_STATE, {address_of(&seen)}, thread);
  return look.exited() ? seen.rax : ~std::uint64_t{0};
}

RegisterFile own_enclu(const ProbeEnclave& probe, std::uint64_t operation, const ProbeArgs& args) {
  return own_enclu(probe, operation, args, enclume_test_aep);
}

RegisterFile own_enclu(const ProbeEnclave& probe, std::uint64_t operation, const ProbeArgs& args,
                       const void* aep) {
  probe.touch();  // else the first exits would be those of page faults that the kernel resolves
  RegisterFile in = register_pattern(), out{};
  in.rax = static_cast<std::uint64_t>(Leaf::kEenter);
  in.rbx = probe.tcs();
  in.rdi = operation;
  in.rsi = address_of(&args);
  in.rflags = 0;
  enclume_test_raw_enclu_aep(&in, &out, aep);
  return out;
}

void alarm_soon() {
  const itimerval once{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = 20000}};
  setitimer(ITIMER_REAL, &once, nullptr);
}

const void* vdso_symbol(const char* name) {
  return find_vdso_symbol(name);
}

}  // namespace enclume::test
