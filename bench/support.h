// SPDX-License-Identifier: Apache-2.0
//
// What the benchmark programs share.
#pragma once

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

namespace enclume::bench {

// Main of a program that needs enclaves. Where the machine has no SGX it starts itself once more behind
// "enclume run --". Before that, while no engine is in the process, it measures the unit of the counter
// `per_signal`: one bare signal round trip, that is an ENCLU that the machine refuses, the kernel's delivery,
// a handler that steps over it, sigreturn. The signal is SIGILL where SGX is unknown, and SIGSEGV where the
// processor has SGX and the hypervisor or the firmware hides it. ENCLU and not UD2: some hypervisors
// intercept #UD, which makes UD2 several times as dear as what an ENCLU costs, and every ratio flattering.
int main_with_enclaves(int argc, char** argv);

// That measurement alone, for a program that runs others.
void measure_units();

// The unit, in seconds, as the bare process measured it; and the same of an UD2, for comparison.
double signal_round_trip();
double ud2_round_trip();

// Sets the counter per_signal: the time of one iteration over signal_round_trip(). To be called after the
// loop, with the seconds that the loop took.
void report_per_signal(benchmark::State& state, double seconds);

// Wall-clock seconds.
double now();

double median(std::vector<double> values);

// A figure of the bare process, in seconds, that a program takes before main_with_enclaves(): kept in an
// environment variable, so that it is there still when the program runs behind "enclume run". 0: none.
void set_bare_figure(const char* variable, double seconds);
double bare_figure(const char* variable);

// Where the enclume program of this build is.
std::string enclume_program();

// Seconds from start to end of a program; negative if it failed.
double run_program(std::vector<std::string> words);

}  // namespace enclume::bench
