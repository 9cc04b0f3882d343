// SPDX-License-Identifier: Apache-2.0
//
// A service whose enclave may vanish at any moment, as the EPC does when a machine sleeps or a virtual
// machine moves. The runtime notices, builds the enclave anew from its image, gives it its last sealed state,
// and asks again. No request is lost, and none is carried out twice.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "common/enclave.h"
#include "layout.h"

extern "C" const std::uint8_t enclave_page[samples::kPage];

namespace {

using samples::check;

struct HostWords {
  std::uint64_t answer, sum;
  std::uint8_t sealed[32];
};
static_assert(offsetof(HostWords, sealed) == HOST_SEALED);

class Account {
 public:
  // The sum after request `number`, which adds `amount`.
  std::uint64_t add(std::uint64_t number, std::uint64_t amount) {
    for (;;) {
      if (!enclave_) build();
      HostWords words{};
      if (call(OP_ADD, words, number, amount)) {
        check(words.answer == 1, "a request out of turn");
        last_ = words;  // answer and state: both or none
        return words.sum;
      }
      enclave_.reset();
    }
  }
  [[nodiscard]] int times_built() const { return times_built_; }

 private:
  void build() {
    const auto tcs = samples::tcs_page(AT_CODE, AT_SSA, AT_DATA, 0);
    constexpr std::uint64_t kData = samples::kReg | samples::kR | samples::kW;
    const samples::Page pages[] = {
        {AT_TCS, samples::kTcs, tcs.data()},
        {AT_CODE, samples::kReg | samples::kR | samples::kX, enclave_page},
        {AT_SSA, kData, nullptr},
        {AT_SSA + samples::kPage, kData, nullptr},
        {AT_DATA, kData, nullptr},
        {AT_STACK_TOP - samples::kPage, kData, nullptr},
    };
    while (!enclave_) {
      try {
        enclave_ = std::make_unique<samples::Enclave>(ENCLAVE_SIZE, samples::kMode64, pages);
      } catch (const samples::EnclaveLost&) {
        continue;  // before it was finished
      }
      HostWords words = last_;
      if (!call(OP_START, words, last_.answer)) {
        enclave_.reset();
        continue;
      }
      check(words.answer == 1, "the sealed state");
      ++times_built_;
    }
  }

  // False if the enclave is gone: EENTER, or the ERESUME after an interrupt, finds that the TCS is no page
  // any more.
  bool call(std::uint64_t operation, HostWords& words, std::uint64_t rdx, std::uint64_t r8 = 0) const {
    sgx_enclave_run run{};
    run.tcs = enclave_->base() + AT_TCS;
    check(samples::enter(samples::kEenter, run, operation, reinterpret_cast<std::uint64_t>(&words), rdx,
                         r8) == 0,
          "EENTER");
    if (run.function == samples::kEexit) return true;
    check(run.exception_vector == 14, "the enclave");  // anything else is a fault of its own
    return false;
  }

  std::unique_ptr<samples::Enclave> enclave_;
  HostWords last_{};
  int times_built_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t requests = argc > 1 ? std::strtoull(argv[1], nullptr, 0) : 2000;
  std::printf("process %d\n", getpid());
  std::fflush(stdout);
  Account account;
  std::uint64_t expected = 0;
  for (std::uint64_t number = 1; number <= requests; ++number) {
    expected += number * number;
    check(account.add(number, number * number) == expected, "the sum");
  }
  std::printf("%lu requests, each carried out once; the enclave was built %d times\n", requests,
              account.times_built());
  return 0;
}
