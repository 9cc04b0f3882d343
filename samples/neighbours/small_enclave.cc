// SPDX-License-Identifier: Apache-2.0
#include "neighbours/small_enclave.h"

#include <array>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "neighbours/neighbour.h"

extern "C" const std::uint8_t neighbours_enclave_page[samples::kPage];

namespace neighbours {
namespace {

using PageBytes = std::array<std::uint8_t, samples::kPage>;

constexpr std::uint64_t tcs_offset(unsigned thread) {
  return AT_THREADS + thread * std::uint64_t{THREAD_SIZE};
}

samples::Enclave build() {
  constexpr std::uint64_t kData = samples::kReg | samples::kR | samples::kW;
  std::array<PageBytes, ENCLAVE_THREADS> tcs{}, data{};
  std::vector<samples::Page> pages{
      {AT_CODE, samples::kReg | samples::kR | samples::kX, neighbours_enclave_page}};
  for (unsigned thread = 0; thread < ENCLAVE_THREADS; ++thread) {
    const std::uint64_t at = tcs_offset(thread), self = at + THREAD_DATA;
    tcs[thread] = samples::tcs_page(AT_CODE, at + THREAD_SSA, self, 0);
    std::memcpy(data[thread].data() + DATA_SELF, &self, sizeof self);
    pages.push_back({at, samples::kTcs, tcs[thread].data()});
    pages.push_back({at + THREAD_SSA, kData, nullptr});
    pages.push_back({at + THREAD_SSA + samples::kPage, kData, nullptr});
    pages.push_back({self, kData, data[thread].data()});
  }
  // MISCSELECT.EXINFO: without it the processor says nothing of page faults.
  return samples::Enclave(ENCLAVE_SIZE, samples::kMode64, pages, samples::kExinfo);
}
static_assert(tcs_offset(ENCLAVE_THREADS) <= ENCLAVE_SIZE);

}  // namespace

SmallEnclave::SmallEnclave() : enclave_(build()) {}

std::uint64_t SmallEnclave::take() {
  std::uint32_t free = free_;
  while (free != 0) {
    const std::uint32_t bit = free & (~free + 1);
    if (free_.compare_exchange_weak(free, free & ~bit)) {
      return enclave_.base() + tcs_offset(static_cast<unsigned>(std::countr_zero(bit)));
    }
  }
  throw std::runtime_error("no TCS is free");
}

void SmallEnclave::give_back(std::uint64_t tcs) {
  free_ |= 1U << (tcs - enclave_.base() - AT_THREADS) / THREAD_SIZE;
}

bool every_tcs_is_free(Neighbour& neighbour) {
  // One visit in another's OCALL, and so on.
  std::function<std::uint64_t(std::uint64_t)> deeper = [&](std::uint64_t left) {
    return left == 0 ? 0 : neighbour.visit(Trouble::kDivide, left - 1, deeper) + 1;
  };
  constexpr std::uint64_t kAll = ENCLAVE_THREADS;
  return deeper(kAll) == kAll + kAll * (kAll - 1) / 2;
}

}  // namespace neighbours
