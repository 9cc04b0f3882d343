// SPDX-License-Identifier: Apache-2.0
//
// The runtime's calls over the bare transition that they are made of, both taken in turns in the same loop.
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "enclaves/probe_enclave.h"
#include "enclume/host/enclave.h"
#include "runtime_calls.h"
#include "support.h"

void runtime_calls::nothing_there() {}

namespace enclume::bench {
namespace {

constexpr std::uint64_t kRounds = 200;

const Enclave<RuntimeCalls>& enclave() {
  static const auto loaded = [] {
    auto result = Enclave<RuntimeCalls>::load(ENCLUME_BENCH_IMAGE);
    if (!result) std::abort();
    return *result;
  }();
  return loaded;
}

// Seconds of one EENTER with EEXIT by the vDSO function and nothing around it. The first one after another
// enclave's is not counted: where the two TCSs share a place in the engine's cache it is trapped.
double bare_transition() {
  static const test::ProbeEnclave probe;
  sgx_enclave_run run{};
  test::ProbeArgs args;
  run.tcs = probe.tcs();
  const auto function = test::vdso_function();
  const auto transition = [&] {
    enclume_test_call_vdso(PROBE_OP_NOP, reinterpret_cast<std::uint64_t>(&args), 0, 2, 0, 0, &run, function);
  };
  transition();
  const double start = now();
  for (std::uint64_t i = 0; i < kRounds; ++i) transition();
  return (now() - start) / kRounds;
}

// Runs `round`, which makes kRounds calls, and reports the medians of what one takes and of what it takes
// beyond `yardstick`.
template <typename Round, typename Yardstick>
void compare(benchmark::State& state, Round round, Yardstick yardstick) {
  std::vector<double> calls, beyond, yardsticks;
  // An exit goes without a trap after some tens of them only.
  yardstick();
  round();
  for (auto unused : state) {
    static_cast<void>(unused);
    const double bare = yardstick();
    benchmark::DoNotOptimize(enclave().call<runtime_calls::nothing>());  // as there, not counted
    const double start = now();
    round();
    const double time = now() - start;
    const double call = time / kRounds;
    state.SetIterationTime(time);
    calls.push_back(call);
    beyond.push_back(call - bare);
    yardsticks.push_back(bare);
  }
  // One that is trapped is none: what is beyond it would be too little, or less than nothing. (Of an engine
  // without direct paths, and of hardware, it is what it is.)
  const double signal = signal_round_trip();
  const double usual = median(yardsticks), least = *std::ranges::min_element(yardsticks);
  if (least < signal / 4 && usual > signal / 2) state.SkipWithError("the yardstick is trapped now and then");
  state.counters["yardstick_ns"] = usual * 1e9;
  state.counters["call_ns"] = median(calls) * 1e9;
  state.counters["over_bare_ns"] = median(beyond) * 1e9;
}

void EmptyEcall(benchmark::State& state) {
  compare(
      state,
      [] {
        for (std::uint64_t i = 0; i < kRounds; ++i) {
          benchmark::DoNotOptimize(enclave().call<runtime_calls::nothing>());
        }
      },
      bare_transition);
}

void EmptyOcall(benchmark::State& state) {
  compare(
      state, [] { benchmark::DoNotOptimize(enclave().call<runtime_calls::nothing_outside>(kRounds)); },
      bare_transition);
}

// Over an empty call; beside it what memcpy alone takes for as many bytes.
template <auto F>
void span(benchmark::State& state) {
  alignas(64) static std::array<std::byte, 4096> data, copy;
  std::vector<double> copies;
  for (int run = 0; run < 101; ++run) {
    const double start = now();
    for (std::uint64_t i = 0; i < kRounds; ++i) {
      std::memcpy(copy.data(), data.data(), data.size());
      benchmark::DoNotOptimize(copy.data());
      benchmark::ClobberMemory();
    }
    copies.push_back((now() - start) / kRounds);
  }
  state.counters["memcpy_ns"] = median(copies) * 1e9;
  compare(
      state,
      [] {
        for (std::uint64_t i = 0; i < kRounds; ++i) {
          benchmark::DoNotOptimize(enclave().call<F>(std::span(data)));
        }
      },
      [] {
        const double empty = now();
        for (std::uint64_t i = 0; i < kRounds; ++i) {
          benchmark::DoNotOptimize(enclave().call<runtime_calls::nothing>());
        }
        return (now() - empty) / kRounds;
      });
}

// Sealing 4 KiB and the reverse, with EREPORT, EGETKEY and, for sealing, eight RDRAND.
template <auto F>
void sealing(benchmark::State& state) {
  std::vector<double> times;
  for (auto unused : state) {
    static_cast<void>(unused);
    const double start = now();
    if (!enclave().call<F>(kRounds).value_or(false)) state.SkipWithError("not sealed");
    const double time = now() - start;
    state.SetIterationTime(time);
    times.push_back(time / kRounds);
  }
  state.counters["call_ns"] = median(times) * 1e9;
}

// #DE, and a handler in the enclave that mends it: AEX, EENTER, EEXIT, ERESUME.
void DivideErrorHandled(benchmark::State& state) {
  std::vector<double> times;
  double total = 0;
  for (auto unused : state) {
    static_cast<void>(unused);
    const double start = now();
    if (enclave().call<runtime_calls::divide_by_zero>(kRounds).value_or(0) != kRounds) {
      state.SkipWithError("not handled");
      return;
    }
    const double time = now() - start;
    state.SetIterationTime(time);
    total += time;
    times.push_back(time / kRounds);
  }
  report_per_signal(state, total / kRounds);
  state.counters["call_ns"] = median(times) * 1e9;
}

void LoadToFirstEcall(benchmark::State& state) {
  for (auto unused : state) {
    static_cast<void>(unused);
    const auto loaded = Enclave<RuntimeCalls>::load(ENCLUME_BENCH_IMAGE);
    if (!loaded || !loaded->call<runtime_calls::nothing>()) state.SkipWithError("not loaded");
  }
}

// An enclave made in a running process, with all of its heap, until its first ECALL could come: what Intel's
// SDK calls sgx_create_enclave().
void create(benchmark::State& state, const char* image) {
  std::vector<double> times;
  for (auto unused : state) {
    static_cast<void>(unused);
    const double start = now();
    const auto loaded = Enclave<RuntimeCalls>::load(image);
    const double time = now() - start;
    if (!loaded) state.SkipWithError("not loaded");
    state.SetIterationTime(time);
    times.push_back(time);
  }
  state.counters["median_ms"] = median(times) * 1e3;
}

// A mutex that nobody else wants: locked and unlocked, inside.
void MutexUncontended(benchmark::State& state) {
  constexpr std::uint64_t kTimes = 100'000;
  std::vector<double> each;
  for (auto unused : state) {
    static_cast<void>(unused);
    const double start = now();
    benchmark::DoNotOptimize(enclave().call<runtime_calls::lock_and_unlock>(kTimes));
    each.push_back((now() - start) / kTimes);
  }
  state.counters["pair_ns"] = median(each) * 1e9;
}

// What a page costs when the heap grows: EACCEPT, and the kernel's EAUG in between.
void HeapGrowth(benchmark::State& state) {
  constexpr std::uint64_t kBytes = std::uint64_t{16} << 20;
  std::vector<double> each;
  for (auto unused : state) {
    static_cast<void>(unused);
    const auto fresh = Enclave<RuntimeCalls>::load(ENCLUME_BENCH_IMAGE);
    const double start = now();
    if (!fresh || !fresh->call<runtime_calls::take_from_heap>(kBytes).value_or(false)) {
      state.SkipWithError("no heap");
      return;
    }
    const double time = now() - start;
    state.SetIterationTime(time);
    each.push_back(time / (kBytes / 4096));
  }
  state.counters["page_ns"] = median(each) * 1e9;
}

BENCHMARK(MutexUncontended);
BENCHMARK(HeapGrowth)->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK(EmptyEcall)->UseManualTime();
BENCHMARK(EmptyOcall)->UseManualTime();
BENCHMARK(span<runtime_calls::take>)->Name("Span4KiBIn")->UseManualTime();
BENCHMARK(span<runtime_calls::give>)->Name("Span4KiBOut")->UseManualTime();
BENCHMARK(sealing<runtime_calls::seal>)->Name("Seal4KiB")->UseManualTime();
BENCHMARK(sealing<runtime_calls::unseal>)->Name("Unseal4KiB")->UseManualTime();
BENCHMARK(DivideErrorHandled)->UseManualTime();
BENCHMARK(LoadToFirstEcall)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(create, heap_1M, ENCLUME_BENCH_IMAGE)
    ->Name("CreateWith1MiBHeap")
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(create, heap_64M, ENCLUME_BENCH_64M_IMAGE)
    ->Name("CreateWith64MiBHeap")
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace enclume::bench

int main(int argc, char** argv) {
  return enclume::bench::main_with_enclaves(argc, argv);
}
