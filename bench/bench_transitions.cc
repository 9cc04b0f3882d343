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

// Reports a figure that the same program took before the engine was in its process: under the engine a
// handler of the program is delivered by the engine.
void report_bare(benchmark::State& state, double seconds) {
  for (auto unused : state) {
    static_cast<void>(unused);
    state.SetIterationTime(seconds);
  }
  report_per_signal(state, seconds * static_cast<double>(state.iterations()));
}
void BareSignalRoundTrip(benchmark::State& state) {
  report_bare(state, signal_round_trip());
}
void BareUd2RoundTrip(benchmark::State& state) {
  report_bare(state, ud2_round_trip());
}
BENCHMARK(BareSignalRoundTrip)->UseManualTime()->Iterations(1);
BENCHMARK(BareUd2RoundTrip)->UseManualTime()->Iterations(1);

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

// The enclave stands at a division by zero (not at an UD2: see support.h). One iteration: ERESUME, the
// exception, AEX, the kernel's fixup, the vDSO function, and the caller's handler, which asks for ERESUME
// again. (By a handler and not by returning: an AEX restores the stack of the entry, so the call that entered
// has to be there still.)
benchmark::State* g_state = nullptr;

int resume_while_running(long, long, long, long, long, long, sgx_enclave_run* run) {
  if (run->function == static_cast<std::uint32_t>(Leaf::kEexit)) return -1;
  return g_state->KeepRunning() ? static_cast<int>(Leaf::kEresume) : 0;
}

void ExceptionByVdsoAndEresume(benchmark::State& state) {
  sgx_enclave_run run{};
  ProbeArgs args{.in = {PROBE_RAISE_DIVIDE}, .out = {}};
  run.tcs = probe().tcs();
  run.user_handler = reinterpret_cast<std::uint64_t>(&resume_while_running);
  g_state = &state;
  const double start = now();
  const std::uint64_t cycles = __rdtsc();
  const int status = enclume_test_call_vdso(PROBE_OP_RAISE, reinterpret_cast<std::uint64_t>(&args), 0, 2, 0,
                                            0, &run, test::vdso_function());
  state.counters["tsc_cycles"] =
      static_cast<double>(__rdtsc() - cycles) / static_cast<double>(state.iterations());
  report_per_signal(state, now() - start);
  if (status != 0 || run.exception_vector != test::kVectorDe)
    state.SkipWithError("the exception was not reported");
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
