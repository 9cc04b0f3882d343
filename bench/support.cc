// SPDX-License-Identifier: Apache-2.0
#include "support.h"

#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace enclume::bench {
namespace {

constexpr const char* kUnitVariable = "ENCLUME_BENCH_SIGNAL_NS";

void step_over_ud2(int, siginfo_t*, void* context) {
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
}

double measure_signal_round_trip() {
  struct sigaction action {};
  struct sigaction old {};
  action.sa_sigaction = step_over_ud2;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGILL, &action, &old);
  // The median of short runs: a disturbance spoils one of them.
  constexpr int kRounds = 20'000;
  std::array<double, 15> runs;
  for (double& run : runs) {
    const double start = now();
    for (int i = 0; i < kRounds; ++i) asm volatile("ud2");
    run = (now() - start) / kRounds;
  }
  sigaction(SIGILL, &old, nullptr);
  std::nth_element(runs.begin(), runs.begin() + runs.size() / 2, runs.end());
  return runs[runs.size() / 2];
}

}  // namespace

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string enclume_program() {
  return ENCLUME_PROGRAM;
}

double signal_round_trip() {
  const char* text = std::getenv(kUnitVariable);
  return text == nullptr ? 0 : std::atof(text) * 1e-9;
}

void report_per_signal(benchmark::State& state, double seconds) {
  const double unit = signal_round_trip();
  if (unit > 0) state.counters["per_signal"] = seconds / static_cast<double>(state.iterations()) / unit;
}

int main_with_enclaves(int argc, char** argv) {
  if (std::getenv(kUnitVariable) == nullptr) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f", measure_signal_round_trip() * 1e9);
    setenv(kUnitVariable, text, 1);
    if (access("/dev/sgx_enclave", F_OK) != 0) {
      std::string program = enclume_program(), run = "run", dashes = "--";
      std::vector<char*> arguments{program.data(), run.data(), dashes.data()};
      arguments.insert(arguments.end(), argv, argv + argc);
      arguments.push_back(nullptr);
      execv(program.c_str(), arguments.data());
      std::fprintf(stderr, "%s: %s\n", program.c_str(), std::strerror(errno));
      return 1;
    }
    benchmark::AddCustomContext("processor", "hardware with SGX");
  } else {
    benchmark::AddCustomContext("processor", "Enclume");
  }
  benchmark::AddCustomContext("bare_sigill_round_trip_ns", std::getenv(kUnitVariable));
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace enclume::bench
