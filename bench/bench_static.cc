// SPDX-License-Identifier: Apache-2.0
//
// The way in and out of a static program, and under `--front raw`: beside a dynamic one's, and each with all
// trapped (transition_times.cc). `per_signal` is as in bench_transitions.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "support.h"

namespace enclume::bench {
namespace {

struct Times {
  double call = 0, exception = 0;
};

Times times_of(const std::string& options, const char* program) {
  const std::string command = "'" + enclume_program() + "' run " + options + " -- '" + program + "'";
  Times times;
  std::FILE* const pipe = popen(command.c_str(), "r");
  const bool read = pipe != nullptr && std::fscanf(pipe, "%lf %lf", &times.call, &times.exception) == 2;
  return pipe != nullptr && pclose(pipe) == 0 && read ? times : Times{};
}

void measure(benchmark::State& state, const char* options, const char* program, double Times::*which) {
  double seconds = 0;
  for (auto unused : state) {
    static_cast<void>(unused);
    const double time = times_of(options, program).*which;
    if (time == 0) {
      state.SkipWithError("the program failed");
      return;
    }
    state.SetIterationTime(time);
    seconds += time;
  }
  report_per_signal(state, seconds);
}

void add(const std::string& name, const char* options, const char* program) {
  for (const auto& [what, which] :
       {std::pair{"EenterEexit", &Times::call}, std::pair{"ExceptionAndEresume", &Times::exception}}) {
    benchmark::RegisterBenchmark((what + name).c_str(), measure, options, program, which)
        ->UseManualTime()
        ->Iterations(3);
  }
}

}  // namespace
}  // namespace enclume::bench

int main(int argc, char** argv) {
  using namespace enclume::bench;
  measure_units();
  add("Dynamic", "", ENCLUME_BENCH_DYNAMIC);
  add("FrontRaw", "--front raw", ENCLUME_BENCH_DYNAMIC);
  add("Static", "", ENCLUME_BENCH_STATIC);
  add("FrontRawTrapped", "--front raw --fast off", ENCLUME_BENCH_DYNAMIC);
  add("StaticTrapped", "--fast off", ENCLUME_BENCH_STATIC);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
