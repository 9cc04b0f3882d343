// SPDX-License-Identifier: Apache-2.0
//
// An enclave of 16 GiB that is loaded with five pages. Its heap is there when it is touched: by a fault that
// the enclave handles, or, without any exit that the host would see, ahead of time.
#include <chrono>
#include <cstdio>

#include "common/enclave.h"
#include "layout.h"

extern "C" const std::uint8_t enclave_page[samples::kPage];

namespace {

using samples::check;

struct HostWords {
  std::uint64_t sum, accepted, mine;
};
static_assert(offsetof(HostWords, mine) == HOST_MINE);

// What the enclave says, and how often it had to be asked to mend a fault.
struct Outcome {
  std::uint64_t sum, accepted, faults;
};

Outcome call(const samples::Enclave& enclave, std::uint64_t operation, std::uint64_t count,
             std::uint64_t where) {
  HostWords words{};
  const auto host = reinterpret_cast<std::uint64_t>(&words);
  std::uint64_t faults = 0;
  sgx_enclave_run run{};
  run.tcs = enclave.base() + AT_TCS;
  check(samples::enter(samples::kEenter, run, operation, host, count, where) == 0, "EENTER");
  while (run.function != samples::kEexit) {
    ++faults;
    sgx_enclave_run handler{};
    handler.tcs = run.tcs;
    check(samples::enter(samples::kEenter, handler, 0, host) == 0 && handler.function == samples::kEexit &&
              words.mine == 1,
          "a fault that is not the heap's");
    check(samples::enter(samples::kEresume, run) == 0, "ERESUME");
  }
  return {words.sum, words.accepted, faults};
}

}  // namespace

int main() {
  using Clock = std::chrono::steady_clock;
  const auto tcs = samples::tcs_page(AT_CODE, AT_SSA, AT_DATA, 0);
  constexpr std::uint64_t kData = samples::kReg | samples::kR | samples::kW;
  const samples::Page pages[] = {
      {AT_TCS, samples::kTcs, tcs.data()},
      {AT_CODE, samples::kReg | samples::kR | samples::kX, enclave_page},
      {AT_SSA, kData, nullptr},
      {AT_SSA + samples::kPage, kData, nullptr},
      {AT_DATA, kData, nullptr},
  };
  const samples::Enclave enclave(ENCLAVE_SIZE, samples::kMode64, pages, samples::kExinfo);
  enclave.map_hole(AT_HEAP, HEAP_PAGES * samples::kPage);
  std::printf("an enclave of %lu GiB, loaded with %zu pages\n", ENCLAVE_SIZE >> 30, std::size(pages));

  const Outcome first = call(enclave, OP_TOUCH, 1000, 1);
  std::printf("1000 words at random in 8 GiB: %lu pages came, by %lu faults\n", first.accepted, first.faults);
  const Outcome again = call(enclave, OP_TOUCH, 1000, 1);
  std::printf("the same words again: %lu faults, and each is what was written\n", again.faults);
  check(again.sum >= 1000 && again.accepted == first.accepted, "what was written");

  const auto start = Clock::now();
  const Outcome taken = call(enclave, OP_TAKE, 4096, 0);
  const double each = std::chrono::duration<double, std::micro>(Clock::now() - start).count() / 4096;
  std::printf("4096 pages ahead of time: %lu pages came, by %lu faults, in %.1f us each\n",
              taken.accepted - again.accepted, taken.faults, each);
  return 0;
}
