// SPDX-License-Identifier: Apache-2.0
//
// More enclave than EPC: what a page costs that goes out and comes back, and random work in an enclave of
// twice the EPC. The same work natively, for a comparison with the kernel's own swapping: bench_paging
// --native, which scripts/bench-swap runs within so little memory.
#include <openssl/evp.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "enclaves/probe_enclave.h"
#include "support.h"

namespace enclume::bench {
namespace {

using test::kPage;

constexpr const char* kEpcSize = "16M";
constexpr std::uint64_t kPages = 8192;  // twice that EPC; a power of two
constexpr std::uint64_t kAccesses = 100'000;
constexpr unsigned kThreads = 2;

// Seconds for AES-128-GCM over a page, once in and once out, with the library that is at hand here.
double gcm_both_ways() {
  std::vector<std::uint8_t> page(kPage, 0x5a), sealed(kPage), aad(128);
  const std::uint8_t key[16] = {1}, iv[12] = {2};
  std::uint8_t tag[16];
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  const auto pass = [&](int encrypt, const std::uint8_t* from, std::uint8_t* to) {
    int length = 0;
    EVP_CipherInit_ex(context, EVP_aes_128_gcm(), nullptr, key, iv, encrypt);
    EVP_CipherUpdate(context, nullptr, &length, aad.data(), static_cast<int>(aad.size()));
    EVP_CipherUpdate(context, to, &length, from, kPage);
    if (encrypt == 0) EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, sizeof tag, tag);
    EVP_CipherFinal_ex(context, to + length, &length);
    if (encrypt != 0) EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, sizeof tag, tag);
  };
  std::vector<double> times;
  for (int i = 0; i < 2001; ++i) {
    const double start = now();
    pass(1, page.data(), sealed.data());
    pass(0, sealed.data(), page.data());
    times.push_back(now() - start);
  }
  EVP_CIPHER_CTX_free(context);
  return median(times);
}

test::ProbeOptions options() {
  test::ProbeOptions options;
  options.heap_pages = kPages;
  options.threads = kThreads;
  return options;
}

const test::ProbeEnclave& enclave() {
  static const test::ProbeEnclave probe(options());
  return probe;
}

// One iteration is a page: all are touched in turn, so that each touch evicts one and loads one.
void PageOutAndIn(benchmark::State& state) {
  const auto& probe = enclave();
  const auto touch_all = [&] { return probe.call(PROBE_OP_STRIDE, {probe.heap(), kPages, kPage}).exited(); };
  touch_all();
  double total = 0;
  for (auto unused : state) {
    static_cast<void>(unused);
    const double start = now();
    if (!touch_all()) return state.SkipWithError("the enclave failed");
    const double page = (now() - start) / kPages;
    state.SetIterationTime(page);
    total += page;
  }
  const double each = total / static_cast<double>(state.iterations()), gcm = gcm_both_ways();
  report_per_signal(state, total);
  state.counters["gcm_per_signal"] = gcm / signal_round_trip();
  state.counters["over_3_gcm_and_signal"] = each / (3 * gcm + signal_round_trip());
}
BENCHMARK(PageOutAndIn)->UseManualTime()->Unit(benchmark::kMicrosecond)->Iterations(5);

// One iteration is an access to a page chosen at random among so many, in an EPC of 4096.
void RandomAccess(benchmark::State& state) {
  const auto& probe = enclave();
  const auto pages = static_cast<std::uint64_t>(state.range(0));
  std::uint64_t seed = 1;
  const auto work = [&] {
    return probe.call(PROBE_OP_RANDOM, {probe.heap(), kAccesses, pages, seed++}).exited();
  };
  work();
  double total = 0;
  for (auto unused : state) {
    static_cast<void>(unused);
    const double start = now();
    if (!work()) return state.SkipWithError("the enclave failed");
    state.SetIterationTime((now() - start) / kAccesses);
    total += (now() - start) / kAccesses;
  }
  report_per_signal(state, total);
}
BENCHMARK(RandomAccess)
    ->Arg(2048)
    ->Arg(static_cast<int>(kPages))
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond)
    ->Iterations(5);

// The same, but four of five accesses go to a quarter of the pages, which would fit: what the reclaimer knows
// of pages in use decides.
void SkewedAccess(benchmark::State& state) {
  constexpr std::uint64_t kAtOnce = 1000;
  const auto& probe = enclave();
  std::uint64_t seed = 1;
  const auto work = [&] {
    for (std::uint64_t done = 0; done < kAccesses; done += kAtOnce) {
      const bool fine =
          probe.call(PROBE_OP_RANDOM, {probe.heap(), kAtOnce / 5 * 4, kPages / 4, seed++}).exited() &&
          probe.call(PROBE_OP_RANDOM, {probe.heap(), kAtOnce / 5, kPages, seed++}).exited();
      if (!fine) return false;
    }
    return true;
  };
  work();
  double total = 0;
  for (auto unused : state) {
    static_cast<void>(unused);
    const double start = now();
    if (!work()) return state.SkipWithError("the enclave failed");
    state.SetIterationTime((now() - start) / kAccesses);
    total += (now() - start) / kAccesses;
  }
  report_per_signal(state, total);
}
BENCHMARK(SkewedAccess)->UseManualTime()->Unit(benchmark::kMicrosecond)->Iterations(5);

// As RandomAccess, with two threads inside: one iteration is an access of either.
void RandomAccessByTwo(benchmark::State& state) {
  const auto& probe = enclave();
  std::uint64_t seed = 1;
  const auto work = [&] {
    std::atomic<bool> fine = true;
    const auto half = [&](unsigned thread) {
      if (!probe.call(PROBE_OP_RANDOM, {probe.heap(), kAccesses / kThreads, kPages, seed + thread}, thread)
               .exited()) {
        fine = false;
      }
    };
    std::thread other(half, 1);
    half(0);
    other.join();
    seed += kThreads;
    return fine.load();
  };
  work();
  double total = 0;
  for (auto unused : state) {
    static_cast<void>(unused);
    const double start = now();
    if (!work()) return state.SkipWithError("the enclave failed");
    state.SetIterationTime((now() - start) / kAccesses);
    total += (now() - start) / kAccesses;
  }
  report_per_signal(state, total);
}
BENCHMARK(RandomAccessByTwo)->UseManualTime()->Unit(benchmark::kMicrosecond)->Iterations(5);

// The work of RandomAccess in ordinary memory: microseconds an access.
int native_random_access() {
  void* memory = mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* bytes = static_cast<volatile std::uint8_t*>(memory);
  std::vector<double> times;
  for (std::uint64_t i = 0; i < kPages; ++i) bytes[i * kPage] = 1;
  for (std::uint64_t seed = 1; seed < 7; ++seed) {
    std::uint64_t state = seed;
    const double start = now();
    for (std::uint64_t i = 0; i < kAccesses; ++i) {
      state = state * 6364136223846793005 + 1;
      auto* word = reinterpret_cast<volatile std::uint64_t*>(static_cast<std::uint8_t*>(memory) +
                                                             ((state >> 33) & (kPages - 1)) * kPage);
      *word = *word + 1;
    }
    if (seed > 1) times.push_back((now() - start) / kAccesses * 1e6);
  }
  std::printf("%.3f us for a random access natively\n", median(times));
  return 0;
}

}  // namespace
}  // namespace enclume::bench

int main(int argc, char** argv) {
  using namespace enclume::bench;
  if (argc == 2 && std::strcmp(argv[1], "--native") == 0) return native_random_access();
  setenv("ENCLUME_EPC_SIZE", kEpcSize, 1);
  return main_with_enclaves(argc, argv);
}
