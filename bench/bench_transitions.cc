// SPDX-License-Identifier: Apache-2.0
//
// The way in and out: EENTER with EEXIT, and an exception with ERESUME, beside what else one might compare
// them to.
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include <algorithm>
#include <atomic>
#include <thread>

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

// The same where the enclave handles its exception: the host enters it a second time, with the next SSA
// frame, and resumes when it has left. The handler moves RIP behind the division, and the next call divides
// again.
int handle_inside(long, long, long, long, long, long, sgx_enclave_run* run) {
  if (run->function == static_cast<std::uint32_t>(Leaf::kEexit)) return 0;
  probe().set_ssa_rip(probe().base() + test::raise_site(PROBE_RAISE_DIVIDE).next);
  return static_cast<int>(Leaf::kEresume);
}

void ExceptionHandledByTheEnclave(benchmark::State& state) {
  sgx_enclave_run run{};
  ProbeArgs args{.in = {PROBE_RAISE_DIVIDE}, .out = {}};
  run.tcs = probe().tcs();
  run.user_handler = reinterpret_cast<std::uint64_t>(&handle_inside);
  int status = 0;
  measure(state, [&] {
    status |= enclume_test_call_vdso(PROBE_OP_RAISE, reinterpret_cast<std::uint64_t>(&args), 0, 2, 0, 0, &run,
                                     test::vdso_function());
  });
  if (status != 0 || run.function != static_cast<std::uint32_t>(Leaf::kEexit))
    state.SkipWithError("the enclave did not exit");
}
BENCHMARK(ExceptionHandledByTheEnclave);

// ---- Two threads ----

// Calls by one thread, then by two at once, each with a TCS of the same enclave: `times_of_one` is how many
// times as many calls a second two make. The best of several rounds: what disturbs one can only lower it.
void EenterEexitByTwoThreads(benchmark::State& state) {
  if (std::thread::hardware_concurrency() < 2) return state.SkipWithError("needs two processors");
  test::ProbeOptions options;
  options.threads = 2;
  const ProbeEnclave enclave(options);
  constexpr int kRounds = 9;
  constexpr int kCalls = 300'000;
  std::atomic<int> ready{0};
  const auto work = [&](unsigned thread, int threads) {
    sgx_enclave_run run{};
    ProbeArgs args;
    run.tcs = enclave.tcs(thread);
    const auto call = [&] {
      enclume_test_call_vdso(PROBE_OP_NOP, reinterpret_cast<std::uint64_t>(&args), 0, 2, 0, 0, &run,
                             test::vdso_function());
    };
    for (int i = 0; i < 1000; ++i) call();
    ++ready;
    while (ready.load() < threads) {
    }
    const double start = now();
    for (int i = 0; i < kCalls; ++i) call();
    return kCalls / (now() - start);
  };
  double best = 0;
  for (auto unused : state) {
    static_cast<void>(unused);
    for (int round = 0; round < kRounds; ++round) {
      ready = 0;
      double alone = 0, first = 0, second = 0;
      std::thread([&] { alone = work(0, 1); }).join();
      ready = 0;
      std::thread other([&] { second = work(1, 2); });
      std::thread([&] { first = work(0, 2); }).join();
      other.join();
      best = std::max(best, (first + second) / alone);
    }
  }
  state.counters["times_of_one"] = best;
}
BENCHMARK(EenterEexitByTwoThreads)->Iterations(1);

// ---- Peers ----

// One stop of a traced process: INT3, the tracer's waitpid() and PTRACE_CONT. Taken while no engine is here.
constexpr const char* kPtraceStop = "ENCLUME_BENCH_PTRACE_STOP";

double ptrace_stop() {
  constexpr int kStops = 20'000;
  const pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    for (int i = 0; i < kStops + 1; ++i) asm volatile("int3");
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  const double start = now();
  int stops = 0;
  while (WIFSTOPPED(status) && ptrace(PTRACE_CONT, child, nullptr, nullptr) == 0 &&
         waitpid(child, &status, 0) == child) {
    ++stops;
  }
  return stops == 0 ? 0 : (now() - start) / stops;
}

void BarePtraceStop(benchmark::State& state) {
  report_bare(state, bare_figure(kPtraceStop));
}
BENCHMARK(BarePtraceStop)->UseManualTime()->Iterations(1);

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
  if (enclume::bench::bare_figure(enclume::bench::kPtraceStop) == 0) {
    enclume::bench::set_bare_figure(enclume::bench::kPtraceStop, enclume::bench::ptrace_stop());
  }
  // To stand beside tsc_cycles. Published, not measured here: Weisse, Bertacco, Austin, "Regaining Lost
  // Cycles with HotCalls", ISCA 2017. The simulation modes of Intel's SDK and of
  // Open Enclave publish none.
  benchmark::AddCustomContext("published_hardware_eenter_eexit_cycles", "8000-17000 (HotCalls, ISCA 2017)");
  return enclume::bench::main_with_enclaves(argc, argv);
}
