// SPDX-License-Identifier: Apache-2.0
//
// System calls that a program makes without libc, and what they cost those of libc. One program for each way
// in which the engine sees them (`enclume run --front`). The call is getppid, which is no business of the
// engine's.
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "support.h"

namespace enclume::bench {
namespace {

constexpr const char* kBareVariable = "ENCLUME_BENCH_BARE_CALL";

// The instruction has this one number, as the wrappers in libgomp or in liburing.
[[gnu::noipa]] long known_call() {
  long result = SYS_getppid;
  asm volatile("syscall" : "+a"(result) : : "rcx", "r11", "memory");
  return result;
}

// And this one may have any, as Go's or Gramine's.
[[gnu::noipa]] long any_call(long number) {
  long result = number;
  asm volatile("syscall" : "+a"(result) : : "rcx", "r11", "memory");
  return result;
}

double seconds_of_bare_call() {
  constexpr int kCalls = 100000;
  const double start = now();
  for (int i = 0; i < kCalls; ++i) benchmark::DoNotOptimize(::getppid());
  return (now() - start) / kCalls;
}

template <typename F>
void measure(benchmark::State& state, F&& call) {
  const double start = now();
  for (auto unused : state) {
    static_cast<void>(unused);
    benchmark::DoNotOptimize(call());
  }
  const double seconds = now() - start;
  report_per_signal(state, seconds);
  if (const double bare = bare_figure(kBareVariable); bare > 0) {
    state.counters["ratio"] = seconds / static_cast<double>(state.iterations()) / bare;
  }
}

// `per_signal`: at most 1.1 where it traps.
void RawCallOfAnyNumber(benchmark::State& state) {
  measure(state, [] { return any_call(SYS_getppid); });
}
BENCHMARK(RawCallOfAnyNumber);

// `ratio` to the bare call: about 1 with --front auto, which sees the number.
void RawCallOfAKnownNumber(benchmark::State& state) {
  measure(state, [] { return known_call(); });
}
BENCHMARK(RawCallOfAKnownNumber);

// `ratio`: about 1 with --front auto, 1.2 with --front raw.
void CallOfLibcs(benchmark::State& state) {
  measure(state, [] { return ::getppid(); });
}
BENCHMARK(CallOfLibcs);

}  // namespace
}  // namespace enclume::bench

int main(int argc, char** argv) {
  using namespace enclume::bench;
  if (std::getenv(kBareVariable) == nullptr) {
    setenv("ENCLUME_FRONT", ENCLUME_BENCH_FRONT, 1);
    set_bare_figure(kBareVariable, seconds_of_bare_call());
  }
  return main_with_enclaves(argc, argv);
}
