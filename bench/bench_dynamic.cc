// SPDX-License-Identifier: Apache-2.0
//
// Memory that comes while the enclave runs (SGX2): page by page through faults, and ahead of touch.
#include <vector>

#include "enclaves/probe_enclave.h"
#include "support.h"

namespace enclume::bench {
namespace {

using test::kPage;
using test::Leaf;
using test::ProbeEnclave;

constexpr std::uint64_t kPages = 2048;
constexpr std::uint64_t kFresh = test::kPtReg | test::kR | test::kW | test::kPending;

// An enclave with holes behind its pages, `kPages` of them used.
class LazyEnclave {
 public:
  explicit LazyEnclave(std::uint64_t minimum_size = 4 * kPages * kPage)
      : probe_(options(minimum_size), load()) {
    const test::Secinfo secinfo{.flags = kFresh, .reserved = {}};
    probe_.copy(probe_.scratch(), reinterpret_cast<std::uint64_t>(&secinfo), sizeof secinfo);
    probe_.touch();
  }
  std::uint64_t hole() const { return probe_.base() + probe_.image().size() / 2; }
  std::uint64_t secinfo() const { return probe_.scratch(); }
  const ProbeEnclave* operator->() const { return &probe_; }

 private:
  static test::ProbeOptions options(std::uint64_t size) {
    test::ProbeOptions options;
    options.minimum_size = size;
    return options;
  }
  static test::LoadOptions load() {
    test::LoadOptions load;
    load.map_holes = true;
    return load;
  }

  ProbeEnclave probe_;
};

const LazyEnclave* g_enclave = nullptr;

// What a runtime does about a page fault: enters the enclave on top of it, which accepts the page.
int accept_on_fault(long, long, long, long, long, long, sgx_enclave_run* run) {
  if (run->function != static_cast<std::uint32_t>(Leaf::kEresume)) return 0;
  if (run->exception_vector != test::kVectorPf) return -1;
  const std::uint64_t page = run->exception_addr;
  const auto accepted =
      (*g_enclave)
          ->call(PROBE_OP_ENCLU, {static_cast<std::uint64_t>(Leaf::kEaccept), g_enclave->secinfo(), page});
  return accepted.exited() && accepted.args.out[0] == 0 ? static_cast<int>(Leaf::kEresume) : -1;
}

// One iteration is a page. The first touch of each faults; all else belongs to the cost of the page.
void EaugByTouch(benchmark::State& state) {
  double total = 0;
  for (auto unused : state) {
    static_cast<void>(unused);
    const LazyEnclave enclave;
    g_enclave = &enclave;
    const test::ProbeArgs args{.in = {enclave.hole(), kPages, kPage}, .out = {}};
    sgx_enclave_run run{};
    run.tcs = enclave->tcs();
    run.user_handler = reinterpret_cast<std::uint64_t>(&accept_on_fault);
    const double start = now();
    const int status =
        enclume_test_call_vdso(PROBE_OP_STRIDE, reinterpret_cast<std::uint64_t>(&args), 0,
                               static_cast<std::uint32_t>(Leaf::kEenter), 0, 0, &run, test::vdso_function());
    const double page = (now() - start) / kPages;
    if (status != 0) return state.SkipWithError("a page did not come");
    state.SetIterationTime(page);
    total += page;
  }
  report_per_signal(state, total);
}
BENCHMARK(EaugByTouch)->UseManualTime()->Unit(benchmark::kMicrosecond)->Iterations(7);

// EACCEPT over a range that nobody has touched, and then the touch. One iteration is a page.
void EacceptAheadOfTouch(benchmark::State& state) {
  double total = 0, touching = 0;
  for (auto unused : state) {
    static_cast<void>(unused);
    const LazyEnclave enclave;
    const double start = now();
    const auto accepted = enclave->call(PROBE_OP_ACCEPT, {enclave.secinfo(), enclave.hole(), kPages});
    const double between = now();
    const auto touched = enclave->call(PROBE_OP_STRIDE, {enclave.hole(), kPages, kPage});
    touching += (now() - between) / kPages;
    if (accepted.args.out[0] != kPages || !touched.exited()) return state.SkipWithError("not accepted");
    state.SetIterationTime((between - start) / kPages);
    total += (between - start) / kPages;
  }
  report_per_signal(state, total);
  state.counters["touch_per_signal"] =
      touching / static_cast<double>(state.iterations()) / signal_round_trip();
}
BENCHMARK(EacceptAheadOfTouch)->UseManualTime()->Unit(benchmark::kMicrosecond)->Iterations(7);

// The same few pages in 16 or 256 GiB of addresses, mapped: what it takes longer to load than in half a MiB.
void LoadSparseEnclave(benchmark::State& state) {
  const auto load = [](std::uint64_t size) {
    const double start = now();
    const LazyEnclave enclave(size);
    return now() - start;
  };
  std::vector<double> small, large;
  for (auto unused : state) {
    static_cast<void>(unused);
    small.push_back(load(1 << 19));
    large.push_back(load(static_cast<std::uint64_t>(state.range(0)) << 30));
    state.SetIterationTime(large.back());
  }
  state.counters["ms_beyond_small"] = 1000 * (median(large) - median(small));
}
BENCHMARK(LoadSparseEnclave)
    ->Arg(16)
    ->Arg(256)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(11);

}  // namespace
}  // namespace enclume::bench

int main(int argc, char** argv) {
  return enclume::bench::main_with_enclaves(argc, argv);
}
