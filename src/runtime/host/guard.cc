// SPDX-License-Identifier: Apache-2.0
#include "enclume/host/guard.h"

#include <signal.h>
#include <ucontext.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>

namespace enclume {
namespace host {
namespace {

static_assert(offsetof(GuardRecord, rip) == 0x38 && offsetof(GuardRecord, mxcsr) == 0x40 &&
              offsetof(GuardRecord, x87_control) == 0x44);

extern "C" [[gnu::visibility("hidden")]] void enclume_host_guard_return() noexcept;

constexpr std::array kSignals{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
constexpr greg_t kPageFault = 14;
// Flags that code must not begin with: the arithmetic ones, TF, DF, NT, RF, AC.
constexpr greg_t kStrayFlags = 0x54dd5;

// Not allocated at its first use, which may be in a handler.
[[gnu::tls_model("initial-exec")]] thread_local GuardRecord* innermost = nullptr;

// Whoever had the signal before. Published by pointer and never freed: a handler on another thread may be
// reading it.
struct Previous {
  struct sigaction action;
  const Previous* older;  // who had it when the guards were put in front the time before; null: nobody
};
std::array<std::atomic<const Previous*>, NSIG> previous{};

bool is_on(const stack_t& stack, std::uint64_t address) {
  const auto begin = reinterpret_cast<std::uint64_t>(stack.ss_sp);
  return address >= begin && address - begin < stack.ss_size;
}

// How often this fault has come back from a handler that we have passed it on to, since that one passes on to
// us: then it goes to the one that was there before.
[[gnu::tls_model("initial-exec")]] thread_local unsigned returned = 0;

GuardRecord* guard_for(const ucontext_t& context) {
  const auto rip = reinterpret_cast<const void*>(context.uc_mcontext.gregs[REG_RIP]);
  for (GuardRecord* record = innermost; record != nullptr; record = record->outer) {
    // In a handler that runs on the alternate stack, over a guard that does not: the handler's own fault.
    if ((context.uc_stack.ss_flags & SS_ONSTACK) != 0 && !is_on(context.uc_stack, record->rsp))
      return nullptr;
    if (rip >= record->range.begin && rip < record->range.end) return record;
  }
  return nullptr;
}

void go_on_at(GuardRecord& record, ucontext_t& context) {
  auto& r = context.uc_mcontext.gregs;
  record.fault = {static_cast<std::uint16_t>(r[REG_TRAPNO]), static_cast<std::uint16_t>(r[REG_ERR]),
                  r[REG_TRAPNO] == kPageFault ? static_cast<std::uint64_t>(r[REG_CR2]) : 0};
  innermost = record.outer;
  const auto put = [&](int index, std::uint64_t value) { r[index] = static_cast<greg_t>(value); };
  put(REG_RBX, record.rbx);
  put(REG_RBP, record.rbp);
  put(REG_R12, record.r12);
  put(REG_R13, record.r13);
  put(REG_R14, record.r14);
  put(REG_R15, record.r15);
  put(REG_RSP, record.rsp);
  put(REG_RDI, reinterpret_cast<std::uint64_t>(&record));
  put(REG_RIP, reinterpret_cast<std::uint64_t>(&enclume_host_guard_return));
  r[REG_EFL] &= ~kStrayFlags;
}

// As the kernel would have called it.
void pass_on(int number, siginfo_t* info, void* context) {
  const Previous* last = previous[static_cast<std::size_t>(number)].load(std::memory_order_acquire);
  for (unsigned i = 0; i < returned && last != nullptr; ++i) last = last->older;
  const bool is_function =
      last != nullptr && ((last->action.sa_flags & SA_SIGINFO) != 0 ||
                          (last->action.sa_handler != SIG_DFL && last->action.sa_handler != SIG_IGN));
  if (!is_function) {
    // An ignored signal stays ignored, if somebody has sent it.
    if (last != nullptr && last->action.sa_handler == SIG_IGN && info->si_code <= 0) return;
    // The instruction will do it again, and then the process ends as it would have.
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    sigaction(number, &standard, nullptr);
    if (info->si_code <= 0) raise(number);
    return;
  }
  sigset_t mask = last->action.sa_mask;
  if ((last->action.sa_flags & SA_NODEFER) == 0) sigaddset(&mask, number);
  pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  if ((last->action.sa_flags & SA_SIGINFO) != 0) {
    last->action.sa_sigaction(number, info, context);
  } else {
    last->action.sa_handler(number);
  }
}

void handle(int number, siginfo_t* info, void* raw_context) {
  auto& context = *static_cast<ucontext_t*>(raw_context);
  // The kernel puts the context right above our return address; who passes on to us does not.
  returned = raw_context == __builtin_dwarf_cfa() ? 0 : returned + 1;
  // Sent by somebody, it is no exception.
  if (info->si_code > 0) {
    if (GuardRecord* const record = guard_for(context)) {
      go_on_at(*record, context);
      return;
    }
  }
  pass_on(number, info, raw_context);
}

void install() {
  struct sigaction ours {};
  ours.sa_sigaction = handle;
  // Not deferred: a fault in a handler that this passes on to must reach it as it would without this.
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (const int number : kSignals) {
    struct sigaction now {};
    if (sigaction(number, nullptr, &now) != 0) continue;
    if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == handle) continue;
    auto& last = previous[static_cast<std::size_t>(number)];
    last.store(new Previous{now, last.load()}, std::memory_order_release);
    sigaction(number, &ours, nullptr);
  }
}

std::once_flag installed;
// Looked at first: std::call_once() takes two nanoseconds to find that there is nothing to do.
std::atomic<bool> is_installed = false;

void install_once() {
  std::call_once(installed, [] {
    install();
    is_installed.store(true, std::memory_order_release);
  });
}

}  // namespace

GuardScope::GuardScope(GuardRecord& record) noexcept : record_(record) {
  if (!is_installed.load(std::memory_order_acquire)) install_once();
  record.outer = innermost;
  innermost = &record;
}

GuardScope::~GuardScope() {
  innermost = record_.outer;
}

}  // namespace host

void renew_guards() noexcept {
  host::install_once();
  host::install();
}

}  // namespace enclume
