// SPDX-License-Identifier: Apache-2.0
//
// How long EENTER with EEXIT takes by the vDSO function, and an exception with ERESUME, in seconds of this
// thread's processor time: for bench_static, which runs it as a static program and as a dynamic one. The
// least of many short rounds: what disturbs one can only lengthen it.
#include <ctime>

#include <algorithm>
#include <cstdio>

#include "enclaves/probe_enclave.h"

namespace {

using namespace enclume::test;

double now() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

constexpr int kRounds = 100;

template <typename Body>
double least(int times, Body body) {
  double best = 1;
  for (int round = 0; round < kRounds; ++round) {
    const double start = now();
    for (int i = 0; i < times; ++i) body();
    best = std::min(best, (now() - start) / times);
  }
  return best;
}

double g_start, g_best = 1;
int g_exceptions = 0;
constexpr int kExceptions = 100;  // of a round

// The division faults again.
int resume(long, long, long, long, long, long, sgx_enclave_run*) {
  if (++g_exceptions % kExceptions == 0) {
    const double time = now();
    g_best = std::min(g_best, (time - g_start) / kExceptions);
    g_start = time;
  }
  return g_exceptions < kExceptions * kRounds ? static_cast<int>(Leaf::kEresume) : 0;
}

}  // namespace

int main() {
  const ProbeEnclave probe;
  const auto function = vdso_function();
  ProbeArgs args;
  sgx_enclave_run run{};
  run.tcs = probe.tcs();
  const auto call = [&] {
    enclume_test_call_vdso(PROBE_OP_NOP, reinterpret_cast<std::uint64_t>(&args), 0, 2, 0, 0, &run, function);
  };
  for (int i = 0; i < 200; ++i) call();
  const double direct = least(1000, call);
  if (run.function != static_cast<std::uint32_t>(Leaf::kEexit)) return 1;

  ProbeArgs divide{.in = {PROBE_RAISE_DIVIDE}, .out = {}};
  run.user_handler = reinterpret_cast<std::uint64_t>(&resume);
  g_start = now();
  enclume_test_call_vdso(PROBE_OP_RAISE, reinterpret_cast<std::uint64_t>(&divide), 0, 2, 0, 0, &run,
                         function);
  if (run.exception_vector != kVectorDe) return 1;
  std::printf("%.12f %.12f\n", direct, g_best);
  return 0;
}
