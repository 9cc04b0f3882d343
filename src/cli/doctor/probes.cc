// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor/probes.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <fcntl.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>

#include "cli/file_descriptor.h"

namespace enclume::cli {
namespace {

// <linux/prctl.h>; older headers lack them.
constexpr int kPrSetSyscallUserDispatch = 59;
constexpr unsigned long kPrSysDispatchOn = 1;
constexpr unsigned char kSelectorAllow = 0;
constexpr unsigned char kSelectorBlock = 1;
// <bits/siginfo-consts.h>: the fault was a protection key's.
constexpr int kSegvPkuerr = 4;
// A breakpoint event has fired.
constexpr int kTrapPerf = 6;

constexpr long kPage = 4096;
constexpr int kYes = 0;
constexpr int kNo = 1;

volatile unsigned char selector = kSelectorAllow;

// Whether `experiment` ends its process with kYes.
bool succeeds_in_child(void (*experiment)()) {
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0) {
    experiment();
    ::_exit(kNo);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == kYes;
}

void on_signal(int number, void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(number, &action, nullptr);
}

void try_protection_key() {
  on_signal(SIGSEGV, [](int, siginfo_t* info, void*) { ::_exit(info->si_code == kSegvPkuerr ? kYes : kNo); });
  void* page = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const int key = ::pkey_alloc(0, PKEY_DISABLE_ACCESS);
  if (page == MAP_FAILED || key < 0 || ::pkey_mprotect(page, kPage, PROT_READ | PROT_WRITE, key) != 0) return;
  static_cast<void>(*static_cast<volatile char*>(page));
}

void try_cpuid_faulting() {
  on_signal(SIGSEGV, [](int, siginfo_t*, void*) { ::_exit(kYes); });
  if (::syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) return;
  unsigned a = 0, b = 0, c = 0, d = 0;
  __cpuid(0, a, b, c, d);
}

void try_user_dispatch() {
  on_signal(SIGSYS, [](int, siginfo_t*, void*) {
    selector = kSelectorAllow;
    ::_exit(kYes);
  });
  if (::prctl(kPrSetSyscallUserDispatch, kPrSysDispatchOn, 0, 0, &selector) != 0) return;
  selector = kSelectorBlock;
  ::syscall(SYS_getpid);
  selector = kSelectorAllow;
}

void try_read_watch() {
  static volatile std::uint64_t word = 0;
  on_signal(SIGTRAP, [](int, siginfo_t* info, void*) { ::_exit(info->si_code == kTrapPerf ? kYes : kNo); });
  perf_event_attr attr{};
  attr.type = PERF_TYPE_BREAKPOINT;
  attr.size = sizeof(attr);
  attr.bp_type = HW_BREAKPOINT_RW;
  attr.bp_addr = reinterpret_cast<std::uint64_t>(&word);
  attr.bp_len = HW_BREAKPOINT_LEN_8;
  attr.sample_period = 1;
  attr.exclude_kernel = attr.exclude_hv = 1;
  attr.sigtrap = attr.remove_on_exec = 1;
  if (::syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC) < 0) return;
  static_cast<void>(word);
}

// Nanoseconds for one of many, in the best of a few rounds.
template <typename F>
double best_time(F&& action) {
  constexpr int kRounds = 5;
  constexpr int kActions = 200;
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kActions; ++i) action();
    const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
    if (round == 0 || spent.count() / kActions < best) best = spent.count() / kActions;
  }
  return best;
}

RawCallCosts measure_raw_calls() {
  on_signal(SIGSYS, [](int, siginfo_t*, void*) { selector = kSelectorAllow; });
  on_signal(SIGSEGV, [](int, siginfo_t*, void* context) {
    constexpr int kCltsLength = 2;
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += kCltsLength;
  });
  const auto call = [] { ::syscall(SYS_getppid); };
  RawCallCosts costs;
  costs.plain = best_time(call);
  costs.patched = best_time([] { asm volatile("clts"); });
  if (::prctl(kPrSetSyscallUserDispatch, kPrSysDispatchOn, 0, 0, &selector) != 0) return {};
  costs.armed = best_time(call);
  costs.dispatched = best_time([&] {
    selector = kSelectorBlock;
    call();
  });
  return costs;
}

}  // namespace

std::optional<RawCallCosts> raw_call_costs() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  const FileDescriptor reader(ends[0]);
  FileDescriptor writer(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return std::nullopt;
  if (child == 0) {
    const auto costs = measure_raw_calls();
    ::_exit(::write(writer.get(), &costs, sizeof costs) == ssize_t{sizeof costs} ? kYes : kNo);
  }
  RawCallCosts costs;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const bool ended_well = WIFEXITED(status) && WEXITSTATUS(status) == kYes;
  if (!ended_well || ::read(reader.get(), &costs, sizeof costs) != ssize_t{sizeof costs}) return std::nullopt;
  return costs.dispatched > 0 ? std::optional(costs) : std::nullopt;
}

bool protection_keys_work() {
  return succeeds_in_child(try_protection_key);
}

bool cpuid_faulting_works() {
  return succeeds_in_child(try_cpuid_faulting);
}

bool user_dispatch_works() {
  return succeeds_in_child(try_user_dispatch);
}

bool read_watch_works() {
  return succeeds_in_child(try_read_watch);
}

bool executable_memfd_works() {
  const FileDescriptor memory(::memfd_create("enclume-doctor", MFD_CLOEXEC));
  if (!memory || ::ftruncate(memory.get(), kPage) != 0) return false;
  void* page = ::mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_SHARED, memory.get(), 0);
  if (page == MAP_FAILED) return false;
  ::munmap(page, kPage);
  return true;
}

}  // namespace enclume::cli
