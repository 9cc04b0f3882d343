// SPDX-License-Identifier: Apache-2.0
//
// Children of every kind: by fork() and by the system call, by vfork() and clone(), with threads before
// anything else. A child by fork shares its parent's enclaves; one by vfork shares its memory and nothing of
// its signals.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr auto kEenter = static_cast<std::uint32_t>(Leaf::kEenter);

// A system call past libc, inline: vfork's child must not return from a function that its parent is still in.
template <typename... Args>
[[gnu::always_inline]] inline long raw_call(long number, Args... args) {
  const long a[6] = {static_cast<long>(args)...};
  register long r10 asm("r10") = a[3];
  register long r8 asm("r8") = a[4];
  register long r9 asm("r9") = a[5];
  long result;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

int status_of(pid_t child) {
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

// The sum by an ENCLU of our own, without anything of libc.
std::uint64_t raw_sum(std::uint64_t tcs, std::uint64_t a, std::uint64_t b) {
  RegisterFile in{}, out{};
  ProbeArgs args{.in = {a, b}, .out = {}};
  in.rax = kEenter;
  in.rbx = tcs;
  in.rdi = PROBE_OP_SUM;
  in.rsi = address_of(&args);
  enclume_test_raw_enclu(&in, &out);
  return args.out[0];
}

class ChildTest : public ::testing::Test {
 protected:
  ChildTest() : probe_(options()) {}
  static ProbeOptions options() {
    ProbeOptions options;
    options.threads = 9;
    return options;
  }
  const ProbeEnclave probe_;
};

TEST_F(ChildTest, OfTheSystemCallEntersTheParentsEnclave) {
  const ScopedSignalMask mask(SIG_BLOCK, {SIGSEGV});
  ASSERT_EQ(raw_sum(probe_.tcs(), 1, 2), 3u);
  const auto child = static_cast<pid_t>(raw_call(SYS_fork));
  if (child == 0) {
    alarm(20);
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    _exit(raw_sum(probe_.tcs(), 20, 22) == 42 && sigismember(&now, SIGSEGV) == 1 ? 0 : 1);
  }
  EXPECT_EQ(status_of(child), 0);
}

// Its handlers, the engine's own business or not, are gone; what is ignored stays so, and its parent's stay.
TEST_F(ChildTest, OfClone3ThatClearsHandlersHasNone) {
  struct {
    std::uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
  } arguments{};
  arguments.flags = 0x100000000;  // CLONE_CLEAR_SIGHAND
  arguments.exit_signal = SIGCHLD;
  struct sigaction handler {};
  handler.sa_handler = [](int) {};
  struct sigaction ignored {};
  ignored.sa_handler = SIG_IGN;
  for (const int signo : {SIGILL, SIGSEGV, SIGUSR1}) ASSERT_EQ(sigaction(signo, &handler, nullptr), 0);
  ASSERT_EQ(sigaction(SIGUSR2, &ignored, nullptr), 0);
  const auto handler_of = [](int signo) {
    struct sigaction now {};
    sigaction(signo, nullptr, &now);
    return now.sa_handler;
  };
  const auto child = static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof arguments));
  if (child == 0) {
    alarm(20);
    if (handler_of(SIGILL) != SIG_DFL || handler_of(SIGSEGV) != SIG_DFL || handler_of(SIGUSR1) != SIG_DFL)
      _exit(1);
    if (handler_of(SIGUSR2) != SIG_IGN) _exit(2);
    if (raw_sum(probe_.tcs(), 20, 22) != 42) _exit(3);
    raise(SIGUSR1);
    _exit(4);
  }
  ASSERT_GT(child, 0);
  const int status = status_of(child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1) << std::hex << status;
  for (const int signo : {SIGILL, SIGSEGV, SIGUSR1}) {
    EXPECT_EQ(handler_of(signo), handler.sa_handler);
    signal(signo, SIG_DFL);
  }
  signal(SIGUSR2, SIG_DFL);
}

TEST_F(ChildTest, OfUnderscoreForkToo) {
  ASSERT_EQ(raw_sum(probe_.tcs(), 1, 2), 3u);
  const pid_t child = _Fork();
  if (child == 0) _exit(raw_sum(probe_.tcs(), 20, 22) == 42 ? 0 : 1);
  EXPECT_EQ(status_of(child), 0);
}

// A thread that libc knows nothing of, on its parent's thread-local storage.
struct RawThread {
  std::uint64_t tcs;
  std::uint64_t sum;
  std::atomic<int> done;
};

void raw_thread(RawThread& thread) {
  for (std::uint64_t i = 0; i < 20; ++i) thread.sum += raw_sum(thread.tcs, i, 1);
  thread.done = 1;
  raw_call(SYS_exit, 0);
}

// clone(2) by the instruction, with nothing that could tell the engine of it.
bool start_raw_thread(RawThread& thread, std::uint8_t* stack_top) {
  const long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  auto* stack = reinterpret_cast<void**>(stack_top - 64);
  stack[0] = &thread;
  long result;
  register long r10 asm("r10") = 0;
  register long r8 asm("r8") = 0;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov (%%rsp), %%rdi\n\t"
      "call *%[function]\n\t"
      "ud2\n"
      "1:"
      : "=a"(result)
      : "a"(SYS_clone), "D"(flags), "S"(stack), "d"(0L), "r"(r10), "r"(r8), [function] "b"(&raw_thread)
      : "rcx", "r11", "memory");
  return result > 0;
}

TEST_F(ChildTest, ThreadsMayBeTheFirstInAForkedChildThatTheEngineMeets) {
  constexpr unsigned kThreads = 8;
  constexpr std::size_t kStack = 64 * 1024;
  ASSERT_EQ(raw_sum(probe_.tcs(), 1, 2), 3u) << "the thread that forks is known";
  static RawThread threads[kThreads];
  std::vector<std::uint8_t> stacks(kThreads * kStack);
  std::uint8_t* const aligned =
      reinterpret_cast<std::uint8_t*>((address_of(stacks.data()) + 63) & ~std::uint64_t{63});
  for (int round = 0; round < 10; ++round) {
    const auto child = static_cast<pid_t>(raw_call(SYS_fork));
    if (child == 0) {
      for (unsigned i = 0; i < kThreads; ++i) {
        threads[i].tcs = probe_.tcs(i + 1);
        if (!start_raw_thread(threads[i], aligned + (i + 1) * kStack - 64)) raw_call(SYS_exit_group, 2);
      }
      // Only now the thread that has forked, among them.
      std::uint64_t sum = 0;
      for (std::uint64_t i = 0; i < 20; ++i) sum += raw_sum(probe_.tcs(), i, 1);
      int good = sum == 210 ? 1 : 0;
      for (RawThread& thread : threads) {
        while (thread.done == 0) {
        }
        good += thread.sum == 210 ? 1 : 0;
      }
      raw_call(SYS_exit_group, good == kThreads + 1 ? 0 : 1);
    }
    ASSERT_EQ(status_of(child), 0) << round;
  }
}

TEST_F(ChildTest, ForkInAHandlerThatInterruptedTheEnclave) {
  static std::uint64_t stop;
  static volatile std::uint64_t progress;
  static volatile int status;
  static const ProbeEnclave* probe;
  probe = &probe_;
  stop = 0;
  progress = 0;
  const ScopedSigaction handler(SIGUSR1, [](int, siginfo_t*, void*) {
    const pid_t child = fork();
    if (child == 0) _exit(probe->call(PROBE_OP_SUM, {1, 2}, 1).args.out[0] == 3 ? 0 : 1);
    int result = -1;
    waitpid(child, &result, 0);
    status = result;
    stop = 1;
  });
  std::thread sender([main = pthread_self()] {
    while (progress == 0) usleep(500);
    pthread_kill(main, SIGUSR1);
  });
  status = -1;
  const CallResult result =
      probe_.call(PROBE_OP_SPIN, {address_of(&stop), address_of(const_cast<std::uint64_t*>(&progress))});
  sender.join();
  EXPECT_TRUE(result.exited());
  EXPECT_EQ(status, 0);
}

// ---- vfork ----

std::atomic<int> g_count;
void count(int, siginfo_t*, void*) {
  ++g_count;
}

// What programs do before they execute another. Nothing of it may reach the parent.
bool change_all_signals() {
  sigset_t none, old;
  sigemptyset(&none);
  struct sigaction plain {
  }, before{};
  plain.sa_handler = SIG_DFL;
  bool good = sigprocmask(SIG_SETMASK, &none, &old) == 0 && sigismember(&old, SIGBUS) == 1 &&
              sigismember(&old, SIGUSR2) == 1 && sigismember(&old, SIGSEGV) == 0;
  for (const int signal : {SIGSEGV, SIGUSR1}) {
    good = good && sigaction(signal, &plain, &before) == 0 && before.sa_sigaction == &count;
    good = good && sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_DFL;
  }
  good = good && sigprocmask(SIG_BLOCK, nullptr, &old) == 0 && sigismember(&old, SIGBUS) == 0;
  sigaddset(&none, SIGSEGV);
  good = good && sigprocmask(SIG_BLOCK, &none, nullptr) == 0;
  return good && sigprocmask(SIG_BLOCK, nullptr, &old) == 0 && sigismember(&old, SIGSEGV) == 1;
}

class VforkTest : public ChildTest {
 protected:
  VforkTest() : mask_(SIG_BLOCK, {SIGBUS, SIGUSR2}), segv_(SIGSEGV, count), usr1_(SIGUSR1, count) {
    g_as_expected = false;
  }
  void expect_as_before(pid_t child) {
    EXPECT_EQ(status_of(child), 0);
    EXPECT_TRUE(g_as_expected);
    g_count = 0;
    raise(SIGSEGV);
    raise(SIGUSR1);
    EXPECT_EQ(g_count, 2);
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    EXPECT_EQ(sigismember(&now, SIGBUS), 1);
    EXPECT_EQ(sigismember(&now, SIGUSR2), 1);
    EXPECT_EQ(sigismember(&now, SIGSEGV), 0);
    EXPECT_EQ(probe_.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}).run.exception_vector, kVectorUd);
    probe_.abandon();
  }
  static volatile bool g_as_expected;

 private:
  const ScopedSignalMask mask_;
  const ScopedSigaction segv_, usr1_;
};
volatile bool VforkTest::g_as_expected;

TEST_F(VforkTest, WhatTheChildDoesToItsSignalsIsItsOwn) {
  for (int round = 0; round < 2; ++round) {
    const pid_t child = vfork();
    if (child == 0) {
      g_as_expected = change_all_signals();
      _exit(0);
    }
    expect_as_before(child);
  }
}

TEST_F(VforkTest, TheSameBySystemCall) {
  const auto child = static_cast<pid_t>(raw_call(SYS_vfork));
  if (child == 0) {
    g_as_expected = change_all_signals();
    _exit(0);
  }
  expect_as_before(child);
}

TEST_F(VforkTest, TheSameByClone) {
  alignas(16) static std::uint8_t stack[256 * 1024];
  const pid_t child = clone(
      [](void*) {
        g_as_expected = change_all_signals();
        return 0;
      },
      stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, nullptr);
  expect_as_before(child);
}

TEST_F(VforkTest, InAForkedChildThatTheEngineHasNotMet) {
  const auto fork = static_cast<pid_t>(raw_call(SYS_fork));
  if (fork == 0) {
    const pid_t child = vfork();
    if (child == 0) {
      g_as_expected = change_all_signals();
      _exit(0);
    }
    expect_as_before(child);
    _exit(HasFailure() ? 1 : 0);
  }
  EXPECT_EQ(status_of(fork), 0);
}

TEST_F(VforkTest, AlternateStackOfTheChildIsItsOwn) {
  static std::uint8_t stacks[2][65536];
  const stack_t mine{.ss_sp = stacks[0], .ss_flags = 0, .ss_size = sizeof stacks[0]};
  static const stack_t theirs{.ss_sp = stacks[1], .ss_flags = 0, .ss_size = sizeof stacks[1]};
  stack_t before{}, after{};
  ASSERT_EQ(sigaltstack(&mine, &before), 0);
  const pid_t child = vfork();
  if (child == 0) {
    stack_t old{};
    g_as_expected = sigaltstack(&theirs, &old) == 0 && old.ss_sp == stacks[0] &&
                    sigaltstack(nullptr, &old) == 0 && old.ss_sp == stacks[1];
    _exit(0);
  }
  EXPECT_EQ(status_of(child), 0);
  EXPECT_TRUE(g_as_expected);
  ASSERT_EQ(sigaltstack(&before, &after), 0);
  EXPECT_EQ(after.ss_sp, stacks[0]);
}

TEST_F(VforkTest, DefaultActionIsTheDeathOfTheChildAlone) {
  g_count = 0;
  const pid_t child = vfork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    _exit(1);
  }
  const int status = status_of(child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) << status;
  raise(SIGSEGV);
  EXPECT_EQ(g_count, 1);
}

TEST_F(VforkTest, ManyWhileOtherThreadsAreInside) {
  std::atomic<bool> stop = false;
  std::atomic<unsigned> wrong = 0, calls = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (std::uint64_t round = 0; !stop; ++round, ++calls) {
        if (probe_.call(PROBE_OP_SUM, {round, i}, i).args.out[0] != round + i) ++wrong;
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    const pid_t child = vfork();
    if (child == 0) {
      signal(SIGILL, SIG_IGN);
      execl("/bin/true", "true", nullptr);
      _exit(1);
    }
    ASSERT_EQ(status_of(child), 0) << i;
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(calls, 100u);
}

}  // namespace
}  // namespace enclume::test
