// SPDX-License-Identifier: Apache-2.0
//
// Loading: ADD_PAGES with measurement, against SHA-256 alone over the bytes that MRENCLAVE hashes for these
// pages.
#include <cstring>
#include <vector>

#include "enclaves/sgx_loader.h"
#include "support.h"

namespace enclume::bench {
namespace {

constexpr std::uint64_t kLength = 16 << 20;
constexpr std::uint64_t kPage = test::kPage;

void add_all(benchmark::State& state, std::uint64_t length_of_one_call) {
  const test::EnclaveImage image(2 * kLength, {});
  std::vector<std::uint8_t> buffer(kLength + kPage, 0x5a);
  const std::uint64_t source = (reinterpret_cast<std::uint64_t>(buffer.data()) + kPage - 1) & ~(kPage - 1);
  const test::Secinfo secinfo{.flags = test::kPtReg | test::kR | test::kW, .reserved = {}};

  // The yardstick, in the same run: OpenSSL over as many bytes as the processor hashes for these pages.
  constexpr std::uint64_t kHashedPerPage = 64 + 16 * (64 + 256);
  const std::vector<std::uint8_t> hashed(kLength / kPage * kHashedPerPage, 0x5a);
  const double hash_start = now();
  benchmark::DoNotOptimize(test::sha256(hashed));
  const double hash_time = now() - hash_start;

  double total = 0;
  for (auto unused : state) {
    static_cast<void>(unused);
    const test::Fd fd = test::open_sgx_enclave();
    const test::Reservation range = test::Reservation::aligned(image.size());
    if (test::create_enclave(fd.get(), image.secs(range.base())) != 0) {
      state.SkipWithError("CREATE failed");
      return;
    }
    const double start = now();
    for (std::uint64_t at = 0; at < kLength; at += length_of_one_call) {
      sgx_enclave_add_pages arguments{.src = source + at,
                                      .offset = at,
                                      .length = length_of_one_call,
                                      .secinfo = reinterpret_cast<std::uint64_t>(&secinfo),
                                      .flags = SGX_PAGE_MEASURE,
                                      .count = 0};
      if (test::add_pages(fd.get(), arguments) != 0) {
        state.SkipWithError("ADD_PAGES failed");
        return;
      }
    }
    const double time = now() - start;
    state.SetIterationTime(time);
    total += time;
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(kLength) * state.iterations());
  state.counters["of_sha256_speed"] = hash_time / (total / static_cast<double>(state.iterations()));
}

void AddMeasuredPagesInOneCall(benchmark::State& state) {
  add_all(state, kLength);
}
void AddMeasuredPagesOneByOne(benchmark::State& state) {
  add_all(state, kPage);
}
BENCHMARK(AddMeasuredPagesInOneCall)->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK(AddMeasuredPagesOneByOne)->UseManualTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace enclume::bench

int main(int argc, char** argv) {
  return enclume::bench::main_with_enclaves(argc, argv);
}
