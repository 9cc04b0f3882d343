// SPDX-License-Identifier: Apache-2.0
//
// A timer at 10 kHz, with a handler that does next to nothing: what one tick costs the code that it
// interrupts, inside an enclave and outside. The same work is done with and without the timer, in turns; a
// tick costs the difference over the number of ticks.
#include <signal.h>
#include <sys/time.h>

#include <cstdlib>
#include <vector>

#include "enclaves/probe_enclave.h"
#include "native_copy.h"
#include "support.h"

namespace enclume::bench {
namespace {

constexpr const char* kBareVariable = "ENCLUME_BENCH_TICK_NS";
constexpr std::uint64_t kRounds = 60'000'000;
constexpr int kTurns = 15;

volatile std::uint64_t g_ticks = 0;

void count_tick(int) {
  g_ticks = g_ticks + 1;
}

void set_timer(suseconds_t microseconds) {
  const itimerval value{{0, microseconds}, {0, microseconds}};
  setitimer(ITIMER_REAL, &value, nullptr);
}

// Seconds that one tick costs `work()`.
template <typename Work>
double cost_of_a_tick(Work work) {
  struct sigaction action {};
  struct sigaction old {};
  action.sa_handler = count_tick;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, &old);
  work();
  std::vector<double> costs;
  for (int turn = 0; turn < kTurns; ++turn) {
    const double start = now();
    work();
    const double between = now();
    g_ticks = 0;
    set_timer(100);
    work();
    set_timer(0);
    const double end = now();
    costs.push_back(((end - between) - (between - start)) / static_cast<double>(g_ticks));
  }
  sigaction(SIGALRM, &old, nullptr);
  return median(costs);
}

double host_tick(const NativeCopy& native) {
  return cost_of_a_tick([&] { benchmark::DoNotOptimize(native.work(kRounds, 1)); });
}

void report_tick(benchmark::State& state, double seconds) {
  for (auto unused : state) {
    static_cast<void>(unused);
    state.SetIterationTime(seconds);
  }
  report_per_signal(state, seconds * static_cast<double>(state.iterations()));
}

void TickInABareProcess(benchmark::State& state) {
  report_tick(state, bare_figure(kBareVariable));
}

double g_host_tick = 0;

void TickInHostCode(benchmark::State& state) {
  const NativeCopy native;
  g_host_tick = host_tick(native);
  report_tick(state, g_host_tick);
}

void TickInTheEnclave(benchmark::State& state) {
  const test::ProbeEnclave probe;
  const double tick = cost_of_a_tick([&] { probe.call(PROBE_OP_WORK, {kRounds, 1}); });
  report_tick(state, tick);
  if (g_host_tick > 0) state.counters["over_host"] = tick / g_host_tick;
  state.counters["over_bare_process"] = tick / bare_figure(kBareVariable);
}
BENCHMARK(TickInABareProcess)->UseManualTime()->Iterations(1);
BENCHMARK(TickInHostCode)->UseManualTime()->Iterations(1);
BENCHMARK(TickInTheEnclave)->UseManualTime()->Iterations(1);

}  // namespace
}  // namespace enclume::bench

int main(int argc, char** argv) {
  using namespace enclume::bench;
  if (std::getenv(kBareVariable) == nullptr) set_bare_figure(kBareVariable, host_tick(NativeCopy()));
  return main_with_enclaves(argc, argv);
}
