// SPDX-License-Identifier: Apache-2.0
//
// What "enclume run --" adds to the start of a program: `true`, bare and behind it, in turns.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "support.h"

namespace enclume::bench {
namespace {

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

void EnclumeRunTrue(benchmark::State& state) {
  std::vector<double> added;
  for (auto unused : state) {
    static_cast<void>(unused);
    const double bare = run({"true"});
    const double behind = run({enclume_program(), "run", "--", "true"});
    if (bare < 0 || behind < 0) {
      state.SkipWithError("a program failed");
      return;
    }
    state.SetIterationTime(behind);
    added.push_back((behind - bare) * 1e3);
  }
  state.counters["added_ms"] = median(added);
}
BENCHMARK(EnclumeRunTrue)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(51);

}  // namespace
}  // namespace enclume::bench

BENCHMARK_MAIN();
