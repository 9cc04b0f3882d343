// SPDX-License-Identifier: Apache-2.0
//
// By the vDSO function as Linux offers it, with a handler for this one entry. Nothing in the process is
// owned: no signal, no global state.
#include <stdexcept>

#include "neighbours/neighbour.h"
#include "neighbours/small_enclave.h"

namespace neighbours {
namespace {

struct BareRegisters {
  std::uint64_t rdi, rsi, rdx;
};

class Bare : public Neighbour {
 public:
  [[nodiscard]] const char* name() const override { return "bare vDSO"; }
  std::uint64_t visit(Trouble trouble, std::uint64_t value, const Outside& outside) override;
  using Neighbour::count;

 private:
  SmallEnclave enclave_;
};

// In sgx_enclave_run.user_data.
struct Visit {
  Bare* library;
  std::uint64_t tcs;
  Trouble expected;
  const Outside* outside;
  bool handling = false;
  std::uint64_t answer = 0;
};

extern "C" {
int bare_handler(long rdi, long rsi, long rdx, long ursp, long r8, long r9, sgx_enclave_run* run);
int bare_next(sgx_enclave_run* run, BareRegisters* registers);
}

// The next leaf; 0: it is over; negative: it has failed.
int bare_next(sgx_enclave_run* run, BareRegisters* registers) {
  auto& visit = *reinterpret_cast<Visit*>(run->user_data);
  if (run->function != samples::kEexit) {
    visit.library->count(visit.expected, run->exception_vector, run->tcs == visit.tcs);
    if (visit.handling || run->function == samples::kEenter) return -1;
    // Enters again, above what was interrupted, by the same ENCLU on the same stack.
    visit.handling = true;
    registers->rdi = COMMAND_HANDLE;
    return samples::kEenter;
  }
  switch (registers->rdi) {
    case EXIT_OCALL:
      registers->rsi = (*visit.outside)(registers->rsi);
      registers->rdi = COMMAND_RETURN;
      return samples::kEenter;
    case EXIT_HANDLED:
      visit.handling = false;
      return samples::kEresume;
    case EXIT_DONE:
      visit.answer = registers->rsi;
      return registers->rdx == vector_of(visit.expected) ? 0 : -1;
    default:
      return -1;
  }
}

std::uint64_t Bare::visit(Trouble trouble, std::uint64_t value, const Outside& outside) {
  const Lease lease(enclave_);
  Visit visit{.library = this, .tcs = lease.tcs(), .expected = trouble, .outside = &outside};
  sgx_enclave_run run{};
  run.tcs = lease.tcs();
  run.user_handler = reinterpret_cast<std::uint64_t>(&bare_handler);
  run.user_data = reinterpret_cast<std::uint64_t>(&visit);
  if (samples::enter(samples::kEenter, run, COMMAND_VISIT, static_cast<std::uint64_t>(trouble), value) != 0) {
    throw std::runtime_error("the enclave of the bare vDSO function has failed");
  }
  return visit.answer;
}

}  // namespace

std::unique_ptr<Neighbour> make_bare() {
  return std::make_unique<Bare>();
}

}  // namespace neighbours
