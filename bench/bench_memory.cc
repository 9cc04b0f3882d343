// SPDX-License-Identifier: Apache-2.0
//
// Memory that Enclume takes beyond the EPC in use: for a process, a thread, an enclave. Each figure is a
// difference of proportional set sizes (Pss of /proc/self/smaps_rollup) that this program, started again as a
// child, reports of itself.
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "enclaves/probe_enclave.h"
#include "support.h"

namespace enclume::bench {
namespace {

constexpr unsigned kThreads = 64;
constexpr std::uint64_t kSmallEnclave = 4096;   // Pages: 16 MiB
constexpr std::uint64_t kLargeEnclave = 16384;  // 64 MiB

double pss_kib() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string line; std::getline(rollup, line);) {
    if (line.rfind("Pss:", 0) == 0) return std::atof(line.c_str() + 4);
  }
  return -1;
}

void child_idle() {
  std::printf("%f\n", pss_kib());
}

// The growth by threads, each of which has been in an enclave if `enter`.
void child_threads(bool enter) {
  test::ProbeOptions options;
  options.threads = kThreads;
  options.frames = 1;
  std::unique_ptr<test::ProbeEnclave> probe;
  if (enter) {
    probe = std::make_unique<test::ProbeEnclave>(options);
    // The pages of the threads belong to the enclave, not to the threads: bring them in first.
    for (unsigned i = 0; i < kThreads; ++i) probe->call(PROBE_OP_NOP, {}, i);
  }
  const double before = pss_kib();
  std::mutex lock;
  std::condition_variable changed;
  unsigned ready = 0;
  bool leave = false;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      if (probe) probe->call(PROBE_OP_NOP, {}, i);
      std::unique_lock<std::mutex> guard(lock);
      ++ready;
      changed.notify_all();
      changed.wait(guard, [&] { return leave; });
    });
  }
  {
    std::unique_lock<std::mutex> guard(lock);
    changed.wait(guard, [&] { return ready == kThreads; });
    std::printf("%f\n", (pss_kib() - before) / kThreads);
    leave = true;
  }
  changed.notify_all();
  for (auto& thread : threads) thread.join();
}

// The growth by an enclave beyond its pages.
void child_enclave(std::uint64_t heap_pages) {
  const double before = pss_kib();
  test::ProbeOptions options;
  options.heap_pages = heap_pages;
  const test::ProbeEnclave probe(options);
  probe.call(PROBE_OP_FILL, {probe.heap(), heap_pages * 512, 1});
  // The probe keeps its image in this process's heap, a node of a map for each page.
  const auto pages = static_cast<double>(probe.image().pages().size());
  const double image_kib = pages * static_cast<double>(sizeof(test::ImagePage) + 64) / 1024;
  std::printf("%f\n", pss_kib() - before - pages * 4 - image_kib);
}

// The growth in MiB by an enclave of 16 GiB of which 64 MiB are accepted and touched.
void child_sparse() {
  constexpr std::uint64_t kSize = 1ULL << 34, kPages = (64 << 20) / test::kPage;
  const double before = pss_kib();
  test::ProbeOptions options;
  options.minimum_size = kSize;
  test::LoadOptions load;
  load.map_holes = true;
  const test::ProbeEnclave probe(options, load);
  const test::Secinfo secinfo{.flags = test::kPtReg | test::kR | test::kW | test::kPending, .reserved = {}};
  probe.copy(probe.scratch(), reinterpret_cast<std::uint64_t>(&secinfo), sizeof secinfo);
  const std::uint64_t first = probe.base() + kSize / 2;
  probe.call(PROBE_OP_ACCEPT, {probe.scratch(), first, kPages});
  const auto touched = probe.call(PROBE_OP_STRIDE, {first, kPages, test::kPage});
  if (touched.exited()) std::printf("%f\n", (pss_kib() - before) / 1024);
}

// Runs this program as a child in the given role and gives the number it prints.
double ask_child(const char* role, bool behind_enclume) {
  char self[4096] = {};
  if (readlink("/proc/self/exe", self, sizeof self - 1) <= 0) return -1;
  // Piece by piece: GCC 12 misjudges a chain of + at -O3 (-Wrestrict).
  std::string command;
  if (behind_enclume) command.append("'").append(enclume_program()).append("' run --epc-size 256M -- ");
  command.append("'").append(self).append("' --child=").append(role);
  FILE* pipe = popen(command.c_str(), "r");
  double value = -1;
  const bool good = std::fscanf(pipe, "%lf", &value) == 1;
  return pclose(pipe) == 0 && good ? value : -1e9;
}

void report(benchmark::State& state, const char* counter, double value) {
  for (auto unused : state) static_cast<void>(unused);
  if (value < -1e6) {
    state.SkipWithError("a child failed");
  } else {
    state.counters[counter] = value;
  }
}

void MemoryOfAProcess(benchmark::State& state) {
  report(state, "kib_per_process", ask_child("idle", true) - ask_child("idle", false));
}
void MemoryOfAThread(benchmark::State& state) {
  report(state, "kib_per_thread", ask_child("threads", true) - ask_child("bare-threads", false));
}
// The slope between two sizes: what the first enclave of a process brings with it is the process's.
void MemoryOfAnEnclave(benchmark::State& state) {
  const double small = ask_child("small-enclave", true), large = ask_child("large-enclave", true);
  const double failed = small < -1e6 || large < -1e6 ? -1e9 : 0;
  report(state, "percent_of_enclave", failed + 100 * (large - small) / ((kLargeEnclave - kSmallEnclave) * 4));
}
void MemoryOfASparseEnclave(benchmark::State& state) {
  report(state, "mib_for_64", ask_child("sparse", true));
}
BENCHMARK(MemoryOfASparseEnclave)->Iterations(1);
BENCHMARK(MemoryOfAProcess)->Iterations(1);
BENCHMARK(MemoryOfAThread)->Iterations(1);
BENCHMARK(MemoryOfAnEnclave)->Iterations(1);

}  // namespace
}  // namespace enclume::bench

int main(int argc, char** argv) {
  using namespace enclume::bench;
  const std::string role = argc == 2 && std::strncmp(argv[1], "--child=", 8) == 0 ? argv[1] + 8 : "";
  if (role == "idle") return child_idle(), 0;
  if (role == "threads") return child_threads(true), 0;
  if (role == "bare-threads") return child_threads(false), 0;
  if (role == "sparse") return child_sparse(), 0;
  if (role == "small-enclave") return child_enclave(kSmallEnclave), 0;
  if (role == "large-enclave") return child_enclave(kLargeEnclave), 0;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
