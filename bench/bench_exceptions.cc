// SPDX-License-Identifier: Apache-2.0
//
// The exception designs (docs/exception-designs.md), one program each: what an exception, its handling and
// ERESUME cost, and what the design adds to signals that have nothing to do with enclaves.
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <string_view>

#include "enclaves/probe_enclave.h"
#include "enclume/host/per_mm_enclu.h"
#include "enclume/host/vdso_enclu.h"
#include "kernel/fixup/fixup.h"
#include "support.h"

#ifndef ENCLUME_BENCH_DESIGN
#error "which design?"
#endif

namespace enclume::bench {
namespace {

using test::Leaf;
using test::ProbeArgs;
using test::ProbeEnclave;
using test::RegisterFile;

constexpr std::string_view kDesign = ENCLUME_BENCH_DESIGN;

const ProbeEnclave& probe() {
  static const ProbeEnclave enclave;
  return enclave;
}

benchmark::State* g_state = nullptr;

// In each of these the enclave stands at a division by zero. One iteration: ERESUME, the exception, AEX,
// whatever the design does with it, down to a handler in C++ that asks for ERESUME again.

int resume_while_running(long, long, long, long, long, long, sgx_enclave_run* run) {
  if (run->function == static_cast<std::uint32_t>(Leaf::kEexit)) return -1;
  return g_state->KeepRunning() ? static_cast<int>(Leaf::kEresume) : 0;
}

bool exceptions_by_vdso(const ProbeArgs& args) {
  sgx_enclave_run run{};
  run.tcs = probe().tcs();
  run.user_handler = reinterpret_cast<std::uint64_t>(&resume_while_running);
  return enclume_test_call_vdso(PROBE_OP_RAISE, reinterpret_cast<std::uint64_t>(&args), 0, 2, 0, 0, &run,
                                test::vdso_function()) == 0 &&
         run.exception_vector == test::kVectorDe;
}

bool exceptions_by_function(const EncluFunction& function, const ProbeArgs& args) {
  const EncluExit exit = function.enter(
      probe().tcs(),
      {.rdi = PROBE_OP_RAISE, .rsi = reinterpret_cast<std::uint64_t>(&args), .rdx = 0, .r8 = 0, .r9 = 0},
      [](const EncluExit&, EncluRegisters&) {
        return g_state->KeepRunning() ? EncluLeaf::kEresume : EncluLeaf::kEexit;
      });
  return !exit.exited() && exit.vector == test::kVectorDe;
}

bool exceptions_by_per_mm(const ProbeArgs& args) {
  PerMmHandler handler;
  return handler.register_with(probe().fd()) == 0 && exceptions_by_function(handler.enclu(), args);
}

// A runtime's handler returns to the AEP, where an ERESUME is.
void resume_by_return(int, siginfo_t*, void* context) {
  if (!g_state->KeepRunning()) {
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] =
        static_cast<greg_t>(reinterpret_cast<std::uint64_t>(enclume_test_enclu_done));
  }
}

bool exceptions_by_signals(const ProbeArgs& args) {
  struct sigaction action {
  }, before{};
  action.sa_sigaction = resume_by_return;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGFPE, &action, &before);
  RegisterFile in{}, out{};
  in.rax = static_cast<std::uint64_t>(Leaf::kEenter);
  in.rbx = probe().tcs();
  in.rdi = PROBE_OP_RAISE;
  in.rsi = reinterpret_cast<std::uint64_t>(&args);
  enclume_test_raw_enclu(&in, &out);
  sigaction(SIGFPE, &before, nullptr);
  return out.rax == static_cast<std::uint64_t>(Leaf::kEresume);
}

void ExceptionAndEresume(benchmark::State& state) {
  const ProbeArgs args{.in = {PROBE_RAISE_DIVIDE}, .out = {}};
  g_state = &state;
  const double start = now();
  bool good = false;
  if (kDesign == "vdso") {
    good = exceptions_by_vdso(args);
  } else if (kDesign == "vdso-registers") {
    const auto function = find_vdso_enclu();
    good = function && exceptions_by_function(*function, args);
  } else if (kDesign == "per-mm") {
    good = exceptions_by_per_mm(args);
  } else {
    good = exceptions_by_signals(args);
  }
  report_per_signal(state, now() - start);
  if (!good) return state.SkipWithError("the exception was not reported");
  probe().abandon();
}

// ---- Signals that have nothing to do with enclaves ----

template <greg_t kLength>
void step_over(int, siginfo_t*, void* context) {
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += kLength;
}

class Handler {
 public:
  Handler(int signal, void (*handler)(int, siginfo_t*, void*)) : signal_(signal) {
    struct sigaction action {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO;
    sigaction(signal, &action, &before_);
  }
  ~Handler() { sigaction(signal_, &before_, nullptr); }
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;

 private:
  int signal_;
  struct sigaction before_ {};
};

template <typename Body>
void measure(benchmark::State& state, Body body) {
  // With an enclave in the process, and where the design has one, with a handler registered.
  static_cast<void>(probe());
  PerMmHandler handler;
  if (kDesign == "per-mm" && handler.register_with(probe().fd()) != 0) {
    return state.SkipWithError("no handler could be registered");
  }
  const double start = now();
  for (auto unused : state) {
    static_cast<void>(unused);
    body();
  }
  report_per_signal(state, now() - start);
}

void HostPageFaultSignal(benchmark::State& state) {
  void* page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const Handler handler(SIGSEGV, step_over<3>);
  measure(state, [&] { asm volatile("movb $0, (%%rax)" ::"a"(page) : "memory"); });
  munmap(page, 4096);
}

void HostDivideSignal(benchmark::State& state) {
  const Handler handler(SIGFPE, step_over<2>);
  measure(state, [] {
    std::uint32_t low = 1, high = 0;
    asm volatile("divl %2" : "+a"(low), "+d"(high) : "c"(0));
  });
}

void HostSentSignal(benchmark::State& state) {
  const Handler handler(SIGUSR1, [](int, siginfo_t*, void*) {});
  const pid_t process = getpid(), thread = gettid();
  measure(state, [=] { tgkill(process, thread, SIGUSR1); });
}

// The decision itself, for a fault elsewhere. What it adds to a signal that comes to be decided here at all
// is this and three bytes at RIP.
void Decision(benchmark::State& state) {
  const auto design = kernel::exception_design(kDesign).value();
  const kernel::FixupState context{
      .vdso = kernel::FixupSite{LinearAddress(0x7fff'1000), LinearAddress(0x7fff'1010)},
      .handler = LinearAddress(0x41'0000)};
  kernel::TrapFrame frame{.vector = arch::Vector::GP, .rip = LinearAddress(0x40'0000)};
  const double start = now();
  for (auto unused : state) {
    static_cast<void>(unused);
    benchmark::DoNotOptimize(frame);
    auto delivery = kernel::deliver(design, context, frame);
    benchmark::DoNotOptimize(delivery);
  }
  report_per_signal(state, now() - start);
}

void register_all() {
  const struct {
    const char* name;
    void (*function)(benchmark::State&);
  } all[] = {{"ExceptionAndEresume", ExceptionAndEresume},
             {"HostPageFaultSignal", HostPageFaultSignal},
             {"HostDivideSignal", HostDivideSignal},
             {"HostSentSignal", HostSentSignal},
             {"Decision", Decision}};
  for (const auto& [name, function] : all) {
    benchmark::RegisterBenchmark((std::string(name) + "/" + std::string(kDesign)).c_str(), function);
  }
}

}  // namespace
}  // namespace enclume::bench

int main(int argc, char** argv) {
  setenv("ENCLUME_FIXUP", ENCLUME_BENCH_DESIGN, 1);
  enclume::bench::register_all();
  return enclume::bench::main_with_enclaves(argc, argv);
}
