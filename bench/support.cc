// SPDX-License-Identifier: Apache-2.0
#include "support.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
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
constexpr const char* kUd2Variable = "ENCLUME_BENCH_UD2_NS";

template <greg_t kLength>
void step_over(int, siginfo_t*, void* context) {
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += kLength;
}

// The cost of one `instruction()` with a handler that steps over it.
template <typename Instruction>
double measure_round_trip(void (*handler)(int, siginfo_t*, void*), Instruction instruction) {
  struct sigaction action {};
  struct sigaction old_ill {};
  struct sigaction old_segv {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGILL, &action, &old_ill);
  sigaction(SIGSEGV, &action, &old_segv);
  // The median of short runs: a disturbance spoils one of them.
  constexpr int kRounds = 10'000;
  std::array<double, 15> runs;
  for (double& run : runs) {
    const double start = now();
    for (int i = 0; i < kRounds; ++i) instruction();
    run = (now() - start) / kRounds;
  }
  sigaction(SIGILL, &old_ill, nullptr);
  sigaction(SIGSEGV, &old_segv, nullptr);
  return median({runs.begin(), runs.end()});
}

}  // namespace

// On hardware an ENCLU[EENTER] with a bad TCS is refused too, with #GP.
void measure_units() {
  set_bare_figure(kUnitVariable, measure_round_trip(step_over<3>, [] {
                    asm volatile(".byte 0x0f, 0x01, 0xd7" ::"a"(2), "b"(1), "c"(0));
                  }));
  set_bare_figure(kUd2Variable, measure_round_trip(step_over<2>, [] { asm volatile("ud2"); }));
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void set_bare_figure(const char* variable, double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", seconds * 1e9);
  setenv(variable, text, 1);
}

double bare_figure(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? 0 : std::atof(text) * 1e-9;
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string enclume_program() {
  return ENCLUME_PROGRAM;
}

double run_program(std::vector<std::string> words) {
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

double signal_round_trip() {
  return bare_figure(kUnitVariable);
}
double ud2_round_trip() {
  return bare_figure(kUd2Variable);
}

void report_per_signal(benchmark::State& state, double seconds) {
  const double unit = signal_round_trip();
  if (unit > 0) state.counters["per_signal"] = seconds / static_cast<double>(state.iterations()) / unit;
}

int main_with_enclaves(int argc, char** argv) {
  if (std::getenv(kUnitVariable) == nullptr) {
    measure_units();
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
  benchmark::AddCustomContext("bare_signal_round_trip_ns", std::getenv(kUnitVariable));
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace enclume::bench
