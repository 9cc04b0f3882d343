// SPDX-License-Identifier: Apache-2.0
// A call to the enter function with every register under the test's eyes, and a processor that plays the
// ENCLU in it.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "kernel/uapi/sgx_enclave_run.h"
#include "unit/vdso/probe_offsets.h"

namespace enclume::test {

struct ProbeRegisters {
  std::uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15, rflags;
};
static_assert(sizeof(ProbeRegisters) == PROBE_REGISTERS_SIZE);
static_assert(offsetof(ProbeRegisters, rbx) == PROBE_rbx && offsetof(ProbeRegisters, rcx) == PROBE_rcx &&
              offsetof(ProbeRegisters, rdi) == PROBE_rdi && offsetof(ProbeRegisters, rbp) == PROBE_rbp &&
              offsetof(ProbeRegisters, rsp) == PROBE_rsp && offsetof(ProbeRegisters, r8) == PROBE_r8 &&
              offsetof(ProbeRegisters, r15) == PROBE_r15 && offsetof(ProbeRegisters, rflags) == PROBE_rflags);

struct ProbeCall {
  ProbeRegisters in;   ///< `rsp` is an output: RSP just before the call.
  ProbeRegisters out;  ///< `rsp` just after it.
  kernel::SgxEnterEnclave function;
  kernel::SgxEnclaveRun* run;
};
static_assert(offsetof(ProbeCall, in) == PROBE_IN && offsetof(ProbeCall, out) == PROBE_OUT &&
              offsetof(ProbeCall, function) == PROBE_FUNCTION && offsetof(ProbeCall, run) == PROBE_RUN);

inline constexpr std::uint64_t kFlagsAtRest = 0x202;
inline constexpr greg_t kTrapFlag = 1U << 8;
inline constexpr greg_t kDirectionFlag = 1U << 10;

/// Every register a value of its own; `function` in ECX, with garbage above it.
ProbeCall probe_call(kernel::SgxEnterEnclave enter, kernel::SgxEnclaveRun* run, std::uint32_t function);

extern "C" {
void vdso_probe_call(ProbeCall* call);
void vdso_probe_return();
int vdso_probe_handler(long, long, long, long, long, long, kernel::SgxEnclaveRun*);
extern ProbeRegisters vdso_probe_at_handler;
extern ProbeRegisters vdso_probe_from_handler;
extern kernel::SgxEnclaveRun* vdso_probe_handler_run;
}

/// What vdso_probe_handler() asks for its result.
extern std::function<int()> probe_hook;

/// Plays the processor: while it lives, a fault at `enclu` runs the next step of the script on the registers.
/// The fault is SIGILL on a processor without SGX, and SIGSEGV (#GP, or #PF for a TCS that is none) on one
/// that has it but whose hypervisor keeps quiet about it.
class FakeProcessor {
 public:
  using Registers = gregset_t;
  using Step = std::function<void(Registers&)>;

  explicit FakeProcessor(std::uintptr_t enclu);
  ~FakeProcessor();
  FakeProcessor(const FakeProcessor&) = delete;
  FakeProcessor& operator=(const FakeProcessor&) = delete;

  void then(Step step) { script_.push_back(std::move(step)); }
  /// How often ENCLU ran.
  std::size_t entries() const { return entries_; }
  /// Called with the context before and after each step.
  std::function<void(ucontext_t&)> observer;

 private:
  static void on_fault(int, siginfo_t*, void* context);

  std::uintptr_t enclu_;
  std::vector<Step> script_;
  std::size_t entries_ = 0;
  std::array<struct sigaction, 2> before_ = {};
};

/// EEXIT to the instruction behind the ENCLU. The enclave leaves its own values wherever it may.
void eexit(FakeProcessor::Registers& registers);

/// What the processor's AEX and then the kernel's fixup make of the registers. `leaf` is EAX at the ENCLU.
void fix_up(FakeProcessor::Registers& registers, std::uintptr_t fixup, unsigned leaf, std::uint64_t vector,
            std::uint64_t error_code, std::uint64_t address);

}  // namespace enclume::test
