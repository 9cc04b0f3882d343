// SPDX-License-Identifier: Apache-2.0
//
// A shell script that starts 1,000 short processes: bare, and behind "enclume run --", where each of them is
// given the engine. `ratio` is the median of the second divided by the first, taken in turns.
#include <string>
#include <vector>

#include "support.h"

namespace enclume::bench {
namespace {

constexpr int kProcesses = 1000;

void thousand(benchmark::State& state, const std::string& command) {
  const std::string script = "i=0; while [ $i -lt " + std::to_string(kProcesses) + " ]; do " + command +
                             " || exit 1; i=$((i+1)); done";
  std::vector<double> ratios;
  std::vector<double> added;
  for (auto unused : state) {
    static_cast<void>(unused);
    const double bare = run_program({"sh", "-c", script});
    const double behind = run_program({enclume_program(), "run", "--", "sh", "-c", script});
    if (bare < 0 || behind < 0) {
      state.SkipWithError("a program failed");
      return;
    }
    state.SetIterationTime(behind);
    ratios.push_back(behind / bare);
    added.push_back((behind - bare) * 1e6 / kProcesses);
  }
  state.counters["ratio"] = median(ratios);
  state.counters["added_us_each"] = median(added);
}

void ThousandDynamicProcesses(benchmark::State& state) {
  thousand(state, "/bin/true");
}
BENCHMARK(ThousandDynamicProcesses)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(3);

void ThousandStaticProcesses(benchmark::State& state) {
  thousand(state, "busybox true");
}
BENCHMARK(ThousandStaticProcesses)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(3);

}  // namespace
}  // namespace enclume::bench

BENCHMARK_MAIN();
