// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the exception designs share: exceptions of every kind, in the enclave and at the ENCLU.
#pragma once

#include <functional>
#include <ostream>
#include <vector>

#include "conformance/debug_support.h"
#include "conformance/support.h"

namespace enclume::test {

// One exception inside the enclave, and all that is to be known of it outside.
struct EnclaveException {
  const char* name;
  std::uint64_t operation;
  std::uint64_t in;   // its first argument
  bool in_is_offset;  // from the enclave's base
  std::uint64_t vector;
  std::uint64_t error_code;
  std::uint64_t page;  // the faulting page's offset from the base, for #PF
  int signal;          // what it becomes where nothing fixes it up
  int code;
  bool code_has_address;  // whether si_addr counts: RIP, or the page for #PF

  ProbeArgs args(const ProbeEnclave& probe) const {
    return {.in = {in_is_offset ? probe.base() + in : in, 1}, .out = {}};
  }
  std::uint64_t address(const ProbeEnclave& probe) const {
    return vector == static_cast<std::uint64_t>(kVectorPf) ? probe.base() + page : 0;
  }
};
void PrintTo(const EnclaveException& exception, std::ostream* out);
const std::vector<EnclaveException>& enclave_exceptions();

// A fault of EENTER or ERESUME itself.
struct EntryFault {
  const char* name;
  std::uint32_t leaf;
  std::uint64_t tcs_offset;  // from the first TCS
  std::uint64_t vector;
  std::uint64_t error_code;  // for #PF the bits that must be set
  bool page_fault_at_tcs;
};
void PrintTo(const EntryFault& fault, std::ostream* out);
const std::vector<EntryFault>& entry_faults();

// INT3 and INT1 after an opt-in entry, which no design fixes up.
struct SoftwareTrap {
  const char* name;
  std::uint64_t instruction;  // PROBE_RAISE_*
  std::uint64_t vector;
  int code;  // si_code of the SIGTRAP
};
void PrintTo(const SoftwareTrap& trap, std::ostream* out);
const std::vector<SoftwareTrap>& software_traps();

// Runs `enter`, which shall enter `probe` for that instruction. A SIGTRAP is noted, and the debugger makes
// the enclave go on behind the instruction.
struct TrapsSeen {
  int count = 0;
  int code = 0;
  std::uint64_t vector = 0, rip = 0, rax = 0;
};
TrapsSeen watch_for_traps(const DebuggedProbe& probe, const SoftwareTrap& trap,
                          const std::function<void()>& enter);

// TCS.CSSA, as an entry finds it in RAX. Needs a free frame.
std::uint64_t current_ssa(const ProbeEnclave& probe, unsigned thread = 0);

// EENTER of an operation by an ENCLU of our own, with a register pattern beside the arguments.
RegisterFile own_enclu(const ProbeEnclave& probe, std::uint64_t operation, const ProbeArgs& args);
RegisterFile own_enclu(const ProbeEnclave& probe, std::uint64_t operation, const ProbeArgs& args,
                       const void* aep);

// SIGALRM once, in 20 ms. That may be too early on a busy machine: a handler that does not find what it waits
// for asks again.
void alarm_soon();

// A symbol of the vDSO, by AT_SYSINFO_EHDR.
const void* vdso_symbol(const char* name);

// The signals that exceptions become.
inline constexpr std::initializer_list<int> kFaultSignals = {SIGILL, SIGSEGV, SIGFPE, SIGBUS, SIGTRAP};

}  // namespace enclume::test
