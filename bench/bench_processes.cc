// SPDX-License-Identifier: Apache-2.0
//
// A shell script that starts 1,000 short processes: bare, and behind "enclume run --", where each of them is
// given the engine. `ratio` is the median of the second divided by the first, taken in turns.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "support.h"

namespace enclume::bench {
namespace {

constexpr int kProcesses = 1000;

// Seconds from start to end of a program; negative if it failed.
double run(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const double start = now();
  pid_t child = 0;
  int status = -1;
  if (posix_spawnp(&child, arguments[0], nullptr, nullptr, arguments.data(), environ) != 0) return -1;
  if (waitpid(child, &status, 0) != child || status != 0) return -1;
  return now() - start;
}

void thousand(benchmark::State& state, const std::string& command) {
  const std::string script = "i=0; while [ $i -lt " + std::to_string(kProcesses) + " ]; do " + command +
                             " || exit 1; i=$((i+1)); done";
  std::vector<double> ratios;
  std::vector<double> added;
  for (auto unused : state) {
    static_cast<void>(unused);
    const double bare = run({"sh", "-c", script});
    const double behind = run({enclume_program(), "run", "--", "sh", "-c", script});
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
