// SPDX-License-Identifier: Apache-2.0
//
// What "enclume run --" adds to the start of a program: `true`, bare and behind it, in turns.
#include <string>
#include <vector>

#include "support.h"

namespace enclume::bench {
namespace {

void EnclumeRunTrue(benchmark::State& state) {
  std::vector<double> added;
  for (auto unused : state) {
    static_cast<void>(unused);
    const double bare = run_program({"true"});
    const double behind = run_program({enclume_program(), "run", "--", "true"});
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
