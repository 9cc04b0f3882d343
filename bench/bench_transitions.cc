// SPDX-License-Identifier: Apache-2.0
//
// The way in and out: EENTER with EEXIT, and an exception with ERESUME, beside what else one might compare
// them to.
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#include "enclaves/probe_enclave.h"
#include "support.h"

namespace enclume::bench {
namespace {

using test::Leaf;
using test::ProbeArgs;
using test::ProbeEnclave;
using test::RegisterFile;

const ProbeEnclave& probe() {
  static const ProbeEnclave enclave;
  return enclave;
}

// Runs `body` in the benchmark's loop and reports time over the unit and processor cycles.
template <typename Body>
void measure(benchmark::State& state, Body body) {
  const double start = now();
  const std::uint64_t cycles = __rdtsc();
  for (auto unused : state) {
    static_cast<void>(unused);
    body();
  }
  state.counters["tsc_cycles"] =
      static_cast<double>(__rdtsc() - cycles) / static_cast<double>(state.iterations());
  report_per_signal(state, now() - start);
}

// The unit itself. It was measured by the same program before the engine was in its process, as under the
// engine a handler of the program is delivered by the engine; the figure is reported as it was taken then.
void BareSigillRoundTrip(benchmark::State& state) {
  for (auto unused : state) {
    static_cast<void>(unused);
    state.SetIterationTime(signal_round_trip());
  }
  state.counters["per_signal"] = 1;
}
BENCHMARK(BareSigillRoundTrip)->UseManualTime()->Iterations(1);

void EenterEexitByVdso(benchmark::State& state) {
  sgx_enclave_run run{};
  ProbeArgs args;
  run.tcs = probe().tcs();
  const auto function = test::vdso_function();
  measure(state, [&] {
    enclume_test_call_vdso(PROBE_OP_NOP, reinterpret_cast<std::uint64_t>(&args), 0, 2, 0, 0, &run, function);
  });
  if (run.function != static_cast<std::uint32_t>(Leaf::kEexit))
    state.SkipWithError("the enclave did not exit");
}
BENCHMARK(EenterEexitByVdso);

void EenterEexitByRawEnclu(benchmark::State& state) {
  RegisterFile in{}, out{};
  ProbeArgs args;
  in.rax = static_cast<std::uint64_t>(Leaf::kEenter);
  in.rbx = probe().tcs();
  in.rdi = PROBE_OP_NOP;
  in.rsi = reinterpret_cast<std::uint64_t>(&args);
  measure(state, [&] { enclume_test_raw_enclu(&in, &out); });
  if (out.rax != static_cast<std::uint64_t>(Leaf::kEexit)) state.SkipWithError("the enclave did not exit");
}
BENCHMARK(EenterEexitByRawEnclu);

// The enclave stands at an UD2. One iteration: ERESUME, the exception, AEX, the kernel's fixup, return to the
// caller.
void ExceptionByVdsoAndEresume(benchmark::State& state) {
  const auto faulted = probe().call(PROBE_OP_RAISE, {PROBE_RAISE_UD2});
  if (!faulted.faulted()) {
    state.SkipWithError("the enclave did not fault");
    return;
  }
  sgx_enclave_run run{};
  run.tcs = probe().tcs();
  const auto function = test::vdso_function();
  measure(state, [&] { enclume_test_call_vdso(0, 0, 0, 3, 0, 0, &run, function); });
  if (run.exception_vector != test::kVectorUd) state.SkipWithError("the exception was not reported");
  probe().abandon();
}
BENCHMARK(ExceptionByVdsoAndEresume);

// ---- Peers ----

void BareSystemCall(benchmark::State& state) {
  measure(state, [] { benchmark::DoNotOptimize(syscall(SYS_getppid)); });
}
BENCHMARK(BareSystemCall);

__attribute__((noinline)) int called(int value) {
  benchmark::DoNotOptimize(value);
  return value + 1;
}

void CallThroughPointer(benchmark::State& state) {
  int (*volatile function)(int) = called;
  measure(state, [&] { benchmark::DoNotOptimize(function(1)); });
}
BENCHMARK(CallThroughPointer);

}  // namespace
}  // namespace enclume::bench

int main(int argc, char** argv) {
  // Published figures for hardware, to stand beside tsc_cycles.
  benchmark::AddCustomContext("published_hardware_eenter_eexit_cycles", "8000-17000");
  return enclume::bench::main_with_enclaves(argc, argv);
}
