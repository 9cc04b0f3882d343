// SPDX-License-Identifier: Apache-2.0
//
// Two enclaves read one data set, which exists once. When one of them writes, it gets a copy of that page,
// and the other notices nothing.
#include <sys/mman.h>

#include <cstdio>

#include "common/enclave.h"
#include "layout.h"

extern "C" const std::uint8_t enclave_page[samples::kPage];

namespace {

using samples::check;

struct HostWords {
  std::uint64_t sum, copied, mine;
};
static_assert(offsetof(HostWords, mine) == HOST_MINE);

HostWords call(const samples::Enclave& enclave, std::uint64_t operation, std::uint64_t rdx = 0,
               std::uint64_t r8 = 0) {
  HostWords words{};
  const auto host = reinterpret_cast<std::uint64_t>(&words);
  sgx_enclave_run run{};
  run.tcs = enclave.base() + AT_TCS;
  check(samples::enter(samples::kEenter, run, operation, host, rdx, r8) == 0, "EENTER");
  while (run.function != samples::kEexit) {
    sgx_enclave_run handler{};
    handler.tcs = run.tcs;
    check(samples::enter(samples::kEenter, handler, 0, host) == 0 && handler.function == samples::kEexit &&
              words.mine == 1,
          "a fault that is no write to the data set");
    check(samples::enter(samples::kEresume, run) == 0, "ERESUME");
  }
  return words;
}

}  // namespace

int main() {
  // The data set: in this process's memory, read-only from now on.
  constexpr std::uint64_t kLength = DATA_PAGES * samples::kPage;
  void* memory = mmap(nullptr, kLength, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(memory != MAP_FAILED, "mmap");
  auto* data = static_cast<std::uint64_t*>(memory);
  std::uint64_t sum = 0;
  for (std::uint64_t page = 0; page < DATA_PAGES; ++page) sum += data[page * 512] = page * page + 7;
  check(mprotect(memory, kLength, PROT_READ) == 0, "mprotect");

  const auto tcs = samples::tcs_page(AT_CODE, AT_SSA, AT_DATA, 0);
  constexpr std::uint64_t kData = samples::kReg | samples::kR | samples::kW;
  const samples::Page pages[] = {
      {AT_TCS, samples::kTcs, tcs.data()},
      {AT_CODE, samples::kReg | samples::kR | samples::kX, enclave_page},
      {AT_SSA, kData, nullptr},
      {AT_SSA + samples::kPage, kData, nullptr},
      {AT_DATA, kData, nullptr},
      {AT_STAGE, kData, nullptr},
  };
  const samples::Enclave first(ENCLAVE_SIZE, samples::kMode64, pages, samples::kExinfo);
  const samples::Enclave second(ENCLAVE_SIZE, samples::kMode64, pages, samples::kExinfo);
  for (const samples::Enclave* enclave : {&first, &second}) {
    enclave->map_hole(AT_COPIES, kLength);
    call(*enclave, OP_OPEN, reinterpret_cast<std::uint64_t>(memory));
  }
  const auto show = [&](const char* when) {
    const HostWords a = call(first, OP_SUM), b = call(second, OP_SUM);
    std::printf("%s: the first sums to %+ld with %lu pages of its own, the second to %+ld with %lu\n", when,
                a.sum - sum, a.copied, b.sum - sum, b.copied);
  };
  show("shared");
  for (const std::uint64_t page : {3UL, 40UL, 41UL, 3UL}) call(first, OP_ADD, page, 100);
  show("the first has written");
  call(second, OP_ADD, 3, 1);
  show("both have written");
  std::uint64_t now = 0;
  for (std::uint64_t page = 0; page < DATA_PAGES; ++page) now += data[page * 512];
  check(now == sum, "the shared data set");
  return 0;
}
