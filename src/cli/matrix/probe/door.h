// SPDX-License-Identifier: Apache-2.0
// The way into an enclave that each design has, and what comes back through it. An ordinary SGX program's
// code: it knows the kernel's interfaces and nothing of who stands behind them.
#pragma once

#include <asm/sgx.h>

#include <cstdint>
#include <functional>

#include "cli/matrix/probe/host.h"
#include "kernel/fixup/design.h"

namespace enclume::cli::matrix::probe {

using Design = kernel::ExceptionDesign;

inline constexpr std::uint64_t kEenter = 2, kEresume = 3, kEexit = 4;
inline constexpr std::uint64_t kFlagTf = 0x100;

// What a signal handler saw.
struct SignalFacts {
  int count = 0;
  int number = 0, code = 0;
  std::uint64_t address = 0;
  std::uint64_t trapno = 0, error = 0, cr2 = 0;
  Registers registers{};
  std::uint32_t mxcsr = 0;
  std::uint16_t fcw = 0, fsw = 0;
};

// What the caller's handler of the vDSO function got.
struct HandlerFacts {
  int count = 0;
  std::uint64_t rdi = 0, rsi = 0, rdx = 0, ursp = 0, r8 = 0, r9 = 0;
  sgx_enclave_run run{};
};

struct Outcome {
  Landing landing{};
  Registers loaded{};                            // by the host; RIP, RSP and RBP as they are at the ENCLU
  std::uint64_t caller_rbx = 0, caller_rbp = 0;  // which the vDSO function has to preserve
  std::uint64_t aep = 0;
  int status = 0;  // of the vDSO function
  sgx_enclave_run run{};
  SignalFacts signal;
  SignalFacts interrupt;  // SIGUSR1 at the AEP
  HandlerFacts handler;
};

struct Entry {
  std::uint64_t leaf = kEenter;
  std::uint64_t tcs = 0;
  std::uint64_t rdi = 0, rsi = 0;  // for the enclave
  std::uint64_t flags = PATTERN_FLAGS;
  bool raw = false;           // by an ENCLU of the program's own in every design
  bool with_handler = false;  // of the vDSO function
  std::uint64_t enclu = 0;    // raw: which one; 0: matrix_enclu
  std::uint64_t aep = 0;      // raw: 0: the ENCLU itself, as in the vDSO
};

class Door {
 public:
  // Finds the function, or registers the handler. Throws std::runtime_error if the machine has no such thing.
  explicit Door(Design design);

  [[nodiscard]] Design design() const { return design_; }
  // Where the vDSO's ENCLU is: the enclave sees it in RCX. To be called before what comes, with an enclave
  // and the routine that tells.
  void learn_aep(std::uint64_t tcs);
  Outcome enter(const Entry& entry);
  // Host code at `code`, with a TCS and an AEP in the registers as before an EENTER, and RDX.
  Outcome run_host_code(const std::uint8_t* code, std::uint64_t tcs, std::uint64_t rdx, std::uint64_t flags);

  // Called in the design's handler when an exception has arrived.
  std::function<void()> on_exception;
  // Called when SIGUSR1 has interrupted the enclave.
  std::function<void()> on_interrupt;
  // SIGTRAPs are passed over until ENCLU has been executed, or is what comes next.
  enum class Stepping : std::uint8_t {
    kNo,
    kThroughEnclu,
    kToEnclu
  };
  Stepping stepping = Stepping::kNo;

 private:
  Outcome finish(Outcome outcome) const;

  Design design_;
  const void* function_ = nullptr;
  std::uint64_t function_aep_ = 0;
};

// Pattern registers with what an EENTER wants.
[[nodiscard]] Registers registers_for(std::uint64_t leaf, std::uint64_t tcs, std::uint64_t aep);

}  // namespace enclume::cli::matrix::probe
