// SPDX-License-Identifier: Apache-2.0
#include "coexist/library.h"

#include <sched.h>

#include <atomic>
#include <bit>
#include <cstdio>
#include <cstdlib>

#include "enclaves/probe_enclave.h"

namespace {

using namespace enclume::test;

constexpr unsigned kThreads = 64;

// A build without -fvisibility=hidden would do; so the few that are meant are marked.
#define COEXIST_API extern "C" __attribute__((visibility("default")))

const ProbeEnclave& probe() {
  // Never destroyed: threads of the program may be at work until it is gone.
  static const ProbeEnclave* const enclave = [] {
    ProbeOptions options;
    options.threads = kThreads;
    return new ProbeEnclave(options);
  }();
  return *enclave;
}

std::atomic<std::uint64_t> g_free{~0ULL};
std::atomic<std::uint64_t> g_entries{0};
std::atomic<std::uint64_t> g_exceptions{0};

// A TCS for a call. A signal handler that enters takes another one.
class TcsLease {
 public:
  TcsLease() {
    for (;;) {
      std::uint64_t free = g_free.load();
      if (free == 0) {
        sched_yield();
        continue;
      }
      number_ = static_cast<unsigned>(std::countr_zero(free));
      if (g_free.compare_exchange_weak(free, free & ~(1ULL << number_))) return;
    }
  }
  ~TcsLease() { g_free.fetch_or(1ULL << number_); }
  TcsLease(const TcsLease&) = delete;
  TcsLease& operator=(const TcsLease&) = delete;
  unsigned number() const { return number_; }

 private:
  unsigned number_ = 0;
};

[[noreturn]] void fail(const char* what, const CallResult& result) {
  std::fprintf(stderr, "coexist: %s: status %d, function %u, vector %u, error code %#x, address %#llx\n",
               what, result.status, static_cast<unsigned>(result.run.function),
               static_cast<unsigned>(result.run.exception_vector),
               static_cast<unsigned>(result.run.exception_error_code),
               static_cast<unsigned long long>(result.run.exception_addr));
  std::abort();
}

constexpr std::uint64_t kUnmapped = 0x7000;  // below vm.mmap_min_addr

struct Kind {
  std::uint64_t operation, argument;
  int vector;
};
constexpr Kind kKinds[COEXIST_KINDS] = {
    {PROBE_OP_RAISE, PROBE_RAISE_UD2, kVectorUd},
    {PROBE_OP_READ, kUnmapped, kVectorPf},
    {PROBE_OP_RAISE, PROBE_RAISE_DIVIDE, kVectorDe},
    {PROBE_OP_RAISE, PROBE_RAISE_NON_CANONICAL_LOAD, kVectorGp},
};

}  // namespace

COEXIST_API void coexist_open() {
  (void)probe();
}

COEXIST_API std::uint64_t coexist_sum(std::uint64_t a, std::uint64_t b) {
  const TcsLease tcs;
  const CallResult result = probe().call(PROBE_OP_SUM, {a, b}, tcs.number());
  if (!result.exited() || result.args.out[0] != a + b) fail("a sum", result);
  ++g_entries;
  return result.args.out[0];
}

COEXIST_API int coexist_fault(unsigned number) {
  const TcsLease tcs;
  const Kind& kind = kKinds[number % COEXIST_KINDS];
  const CallResult result = probe().call(kind.operation, {kind.argument}, tcs.number());
  if (!result.faulted() || result.run.exception_vector != kind.vector ||
      (kind.vector == kVectorPf && result.run.exception_addr != kUnmapped)) {
    fail("an exception", result);
  }
  ++g_exceptions;
  probe().abandon(tcs.number());
  g_entries += 2;
  return kind.vector;
}

COEXIST_API void coexist_raw_fault() {
  const TcsLease tcs;
  ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  RegisterFile in{}, out{};
  in.rax = static_cast<std::uint64_t>(Leaf::kEenter);
  in.rbx = probe().tcs(tcs.number());
  in.rdi = PROBE_OP_RAISE;
  in.rsi = reinterpret_cast<std::uint64_t>(&args);
  enclume_test_raw_enclu(&in, &out);
  probe().abandon(tcs.number());
  g_entries += 2;
}

COEXIST_API int coexist_at(std::uint64_t base, void (*look)(const volatile std::uint64_t*)) {
  LoadOptions load;
  load.base = base;
  const ProbeEnclave enclave({}, load);
  if (enclave.base() != base || enclave.call(PROBE_OP_SUM, {3, 4}).args.out[0] != 7) return 0;
  enclave.write(enclave.scratch(), base);
  look(reinterpret_cast<const volatile std::uint64_t*>(enclave.scratch()));
  const CallResult result = enclave.call(PROBE_OP_READ, {kUnmapped});
  return result.faulted() && result.run.exception_vector == kVectorPf &&
                 result.run.exception_addr == kUnmapped
             ? 1
             : 0;
}

COEXIST_API std::uint64_t coexist_aep() {
  return reinterpret_cast<std::uint64_t>(enclume_test_aep);
}

COEXIST_API std::uint64_t coexist_landing() {
  return reinterpret_cast<std::uint64_t>(enclume_test_enclu_done);
}

COEXIST_API std::uint64_t coexist_entries() {
  return g_entries;
}

COEXIST_API std::uint64_t coexist_exceptions() {
  return g_exceptions;
}
