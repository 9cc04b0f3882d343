// SPDX-License-Identifier: Apache-2.0
//
// As runtimes did it before the vDSO function: an ENCLU of one's own, and signal handlers, which a library
// has to share with whoever else is in the process.
#include "neighbours/raw.h"

#include <signal.h>
#include <ucontext.h>

#include <array>
#include <cstdlib>
#include <stdexcept>

#include "neighbours/neighbour.h"
#include "neighbours/small_enclave.h"

namespace neighbours {
namespace {

struct RawRegisters {
  std::uint64_t tcs, rdi, rsi, rdx, failed;
};
static_assert(offsetof(RawRegisters, rdx) == RAW_RDX && offsetof(RawRegisters, failed) == RAW_FAILED);

extern "C" {
void raw_enter(RawRegisters* registers);
extern const char raw_eenter[], raw_aep[], raw_failed[];
}

class Raw;

// The visit that is under way on this thread. Not allocated at its first use, which may be in a handler.
struct Visit {
  Raw* library;
  std::uint64_t tcs;
  Trouble expected;
};
[[gnu::tls_model("initial-exec")]] thread_local const Visit* innermost = nullptr;

class Raw : public Neighbour {
 public:
  [[nodiscard]] const char* name() const override { return "raw ENCLU"; }
  std::uint64_t visit(Trouble trouble, std::uint64_t value, const Outside& outside) override;
  /// In the signal handler: whether the exception has been seen to.
  [[nodiscard]] bool handle(const Visit& visit, std::uint64_t vector, std::uint64_t tcs) {
    count(visit.expected, vector, tcs == visit.tcs);
    // Enters again, above what was interrupted; this stack is below the one that it was interrupted on.
    RawRegisters registers{.tcs = tcs, .rdi = COMMAND_HANDLE, .rsi = 0, .rdx = 0, .failed = 0};
    raw_enter(&registers);
    return registers.failed == 0 && registers.rdi == EXIT_HANDLED;
  }

 private:
  SmallEnclave enclave_;
};

constexpr std::array kSignals{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
std::array<struct sigaction, NSIG> previous{};

void pass_on(int number, siginfo_t* info, void* context) {
  const struct sigaction& last = previous[static_cast<std::size_t>(number)];
  if ((last.sa_flags & SA_SIGINFO) != 0) {
    last.sa_sigaction(number, info, context);
  } else if (last.sa_handler != SIG_DFL && last.sa_handler != SIG_IGN) {
    last.sa_handler(number);
  } else {
    signal(number, SIG_DFL);  // the instruction will do it again
  }
}

void on_signal(int number, siginfo_t* info, void* raw_context) {
  auto& registers = static_cast<ucontext_t*>(raw_context)->uc_mcontext.gregs;
  const auto rip = reinterpret_cast<const char*>(registers[REG_RIP]);
  const Visit* const visit = innermost;
  if (visit != nullptr && rip == raw_aep) {
    const auto tcs = static_cast<std::uint64_t>(registers[REG_RBX]);
    if (visit->library->handle(*visit, static_cast<std::uint64_t>(registers[REG_TRAPNO]), tcs)) return;
    registers[REG_RIP] = reinterpret_cast<greg_t>(raw_failed);
  } else if (rip == raw_eenter) {
    registers[REG_RIP] = reinterpret_cast<greg_t>(raw_failed);
  } else {
    pass_on(number, info, raw_context);
  }
}

void install_handlers() {
  struct sigaction ours {};
  ours.sa_sigaction = on_signal;
  ours.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  for (const int number : kSignals) {
    sigaction(number, nullptr, &previous[static_cast<std::size_t>(number)]);
    sigaction(number, &ours, nullptr);
  }
}

class Innermost {
 public:
  explicit Innermost(const Visit& visit) : outer_(innermost) { innermost = &visit; }
  ~Innermost() { innermost = outer_; }
  Innermost(const Innermost&) = delete;
  Innermost& operator=(const Innermost&) = delete;

 private:
  const Visit* outer_;
};

std::uint64_t Raw::visit(Trouble trouble, std::uint64_t value, const Outside& outside) {
  const Lease lease(enclave_);
  const Visit visit{this, lease.tcs(), trouble};
  const Innermost scope(visit);
  RawRegisters registers{.tcs = lease.tcs(),
                         .rdi = COMMAND_VISIT,
                         .rsi = static_cast<std::uint64_t>(trouble),
                         .rdx = value,
                         .failed = 0};
  raw_enter(&registers);
  while (registers.failed == 0 && registers.rdi == EXIT_OCALL) {
    registers.rsi = outside(registers.rsi);
    registers.rdi = COMMAND_RETURN;
    raw_enter(&registers);
  }
  if (registers.failed != 0 || registers.rdi != EXIT_DONE || registers.rdx != vector_of(trouble)) {
    throw std::runtime_error("the enclave of the raw ENCLU has failed");
  }
  return registers.rsi;
}

}  // namespace

std::unique_ptr<Neighbour> make_raw() {
  static const bool installed = (install_handlers(), true);
  static_cast<void>(installed);
  return std::make_unique<Raw>();
}

}  // namespace neighbours
