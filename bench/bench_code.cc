// SPDX-License-Identifier: Apache-2.0
//
// Code inside an enclave runs at the machine's speed: the same bytes, inside and outside, in turns.
#include <sys/mman.h>

#include <fstream>
#include <vector>

#include "enclaves/probe_enclave.h"
#include "native_copy.h"
#include "support.h"

namespace enclume::bench {
namespace {

constexpr std::uint64_t kRounds = 20'000'000;

// One iteration: the work once inside and once outside. over_native is the quotient of the medians.
void CodeInTheEnclave(benchmark::State& state) {
  const test::ProbeEnclave probe;
  const NativeCopy native;
  std::vector<double> inside, outside;
  std::uint64_t seed = 1;
  for (auto unused : state) {
    static_cast<void>(unused);
    const double start = now();
    const auto result = probe.call(PROBE_OP_WORK, {kRounds, seed});
    const double between = now();
    const std::uint64_t expected = native.work(kRounds, seed);
    outside.push_back(now() - between);
    inside.push_back(between - start);
    state.SetIterationTime(inside.back());
    if (!result.exited() || result.args.out[0] != expected) {
      state.SkipWithError("the enclave computed something else");
      return;
    }
    ++seed;
  }
  state.counters["over_native"] = median(inside) / median(outside);
}
BENCHMARK(CodeInTheEnclave)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(21);

// Real code for the pages below: bytes of a large library's text, wherever it begins.
std::vector<std::uint8_t> library_text(std::size_t size) {
  std::ifstream file("/usr/lib/x86_64-linux-gnu/libcrypto.so.3", std::ios::binary);
  file.seekg(1 << 20);
  std::vector<std::uint8_t> bytes(size, 0xc3);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  return bytes;
}

// The first call into each of many pages of code, against the second: what it costs that pages are looked
// through before they are executed. One iteration is a page.
void FirstFetchFromAPage(benchmark::State& state) {
  constexpr std::uint64_t kPages = 600;
  test::ProbeOptions options;
  options.code = library_text(kPages * test::kPage);
  for (std::uint64_t page = 0; page < kPages; ++page) {
    options.code[page * test::kPage] = 0xc3;  // what is called
  }
  const test::ProbeEnclave probe(options);
  const auto touch_all = [&] {
    const double start = now();
    for (std::uint64_t page = 0; page < kPages; ++page) {
      if (!probe.call(PROBE_OP_CALL, {probe.code() + page * test::kPage}).exited()) {
        state.SkipWithError("the call failed");
      }
    }
    return now() - start;
  };
  double total = 0;
  for (auto unused : state) {
    static_cast<void>(unused);
    void* code = reinterpret_cast<void*>(probe.code());
    mprotect(code, kPages * test::kPage, PROT_READ);
    mprotect(code, kPages * test::kPage, PROT_READ | PROT_EXEC);
    const double first = touch_all();
    const double extra = (first - touch_all()) / kPages;
    state.SetIterationTime(extra);
    total += extra;
  }
  report_per_signal(state, total);
}
BENCHMARK(FirstFetchFromAPage)->UseManualTime()->Unit(benchmark::kMicrosecond)->Iterations(11);

}  // namespace
}  // namespace enclume::bench

int main(int argc, char** argv) {
  return enclume::bench::main_with_enclaves(argc, argv);
}
