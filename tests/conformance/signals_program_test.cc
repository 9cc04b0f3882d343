// SPDX-License-Identifier: Apache-2.0
//
// The rest of what POSIX and Linux say about signals, which holds as without enclaves: dispositions, flags
// and payloads, faults of the program's own, interrupted system calls, threads.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "conformance/signals_fixture.h"

namespace enclume::test {
namespace {

// ---- Dispositions, flags, payloads ----

TEST(DispositionTest, IsDefaultUntilTheProgramSetsIt) {
  for (const int signal : {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGSYS}) {
    struct sigaction now {};
    ASSERT_EQ(sigaction(signal, nullptr, &now), 0);
    EXPECT_EQ(now.sa_handler, SIG_DFL) << signal;
  }
}

void do_nothing(int, siginfo_t*, void*) {}

TEST(DispositionTest, QueryGivesWhatWasSet) {
  for (const int signal : {SIGILL, SIGSEGV, SIGUSR1}) {
    const ScopedSigaction set(signal, do_nothing, SA_ONSTACK | SA_NODEFER, {SIGUSR2, SIGILL});
    struct sigaction now {};
    ASSERT_EQ(sigaction(signal, nullptr, &now), 0);
    EXPECT_EQ(now.sa_sigaction, &do_nothing);
    // glibc and the kernel add SA_RESTORER.
    EXPECT_EQ(static_cast<unsigned>(now.sa_flags) & ~0x04000000u,
              static_cast<unsigned>(SA_SIGINFO | SA_ONSTACK | SA_NODEFER));
    EXPECT_EQ(sigismember(&now.sa_mask, SIGUSR2), 1);
    EXPECT_EQ(sigismember(&now.sa_mask, SIGILL), 1);
    EXPECT_EQ(sigismember(&now.sa_mask, SIGHUP), 0);
  }
}

TEST(DispositionTest, SignalReturnsThePreviousHandler) {
  void (*const handler)(int) = [](int) {};
  EXPECT_EQ(signal(SIGILL, handler), SIG_DFL);
  EXPECT_EQ(signal(SIGILL, SIG_IGN), handler);
  EXPECT_EQ(signal(SIGILL, SIG_DFL), SIG_IGN);
}

TEST(DispositionTest, KillAndStopCannotBeCaught) {
  for (const int number : {SIGKILL, SIGSTOP, 0, 65}) {
    struct sigaction action {};
    action.sa_handler = SIG_IGN;
    EXPECT_EQ(sigaction(number, &action, nullptr), -1) << number;
    EXPECT_EQ(errno, EINVAL) << number;
  }
}

TEST(DispositionTest, ResethandGoesBackToDefaultAfterOneDelivery) {
  const ScopedSigaction set(SIGILL, do_nothing, SA_RESETHAND);
  raise(SIGILL);
  struct sigaction now {};
  sigaction(SIGILL, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_DFL);
}

TEST(DispositionTest, AHandlerMayWriteWhereTheKernelWritesNothing) {
  // Words of the frame that Linux does not read. The mask comes back all the same, from handlers in handlers
  // too.
  static unsigned depth;
  for (const unsigned long long word : {0ULL, ~0ULL, 1ULL << 46, 1ULL << 63}) {
    depth = 0;
    static unsigned long long filling;
    filling = word != 1ULL << 46 ? word : static_cast<unsigned long long>(address_of(&depth));
    const ScopedSigaction set(
        SIGUSR1,
        [](int, siginfo_t*, void* context) {
          if (++depth < 3) raise(SIGUSR1);
          for (auto& reserved : static_cast<ucontext_t*>(context)->uc_mcontext.__reserved1)
            reserved = filling;
        },
        SA_NODEFER, {SIGSEGV, SIGUSR2});
    const ScopedSigaction other(SIGFPE, do_nothing, 0, {SIGUSR2});
    raise(SIGUSR1);
    raise(SIGFPE);
    EXPECT_EQ(depth, 3u);
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    for (const int signal : {SIGUSR1, SIGUSR2, SIGSEGV, SIGFPE})
      EXPECT_EQ(sigismember(&now, signal), 0) << signal;
  }
}

sigset_t g_mask_in_handler;

void note_mask(int, siginfo_t*, void*) {
  pthread_sigmask(SIG_BLOCK, nullptr, &g_mask_in_handler);
}

TEST(DispositionTest, HandlerRunsWithItsMaskAndItsOwnSignalBlocked) {
  const ScopedSigaction set(SIGUSR1, note_mask, 0, {SIGUSR2, SIGSEGV});
  raise(SIGUSR1);
  EXPECT_EQ(sigismember(&g_mask_in_handler, SIGUSR1), 1);
  EXPECT_EQ(sigismember(&g_mask_in_handler, SIGUSR2), 1);
  EXPECT_EQ(sigismember(&g_mask_in_handler, SIGSEGV), 1);
  EXPECT_EQ(sigismember(&g_mask_in_handler, SIGHUP), 0);
  sigset_t after;
  pthread_sigmask(SIG_BLOCK, nullptr, &after);
  EXPECT_EQ(sigismember(&after, SIGUSR1), 0);
  EXPECT_EQ(sigismember(&after, SIGSEGV), 0);
}

TEST(DispositionTest, NodeferLeavesItsOwnSignalUnblocked) {
  for (const int signal : {SIGUSR1, SIGILL}) {
    const ScopedSigaction set(signal, note_mask, SA_NODEFER);
    raise(signal);
    EXPECT_EQ(sigismember(&g_mask_in_handler, signal), 0) << signal;
  }
}

TEST(DispositionTest, SynchronousSignalsBlockThemselvesInTheirHandler) {
  const ScopedSigaction set(SIGILL, note_mask);
  raise(SIGILL);
  EXPECT_EQ(sigismember(&g_mask_in_handler, SIGILL), 1);
}

TEST_F(SignalTest, PayloadOfAQueuedSignalArrivesWhileAnEnclaveRuns) {
  reset_alarms();
  static volatile int code, value, sender;
  const ScopedSigaction set(SIGRTMIN + 3, [](int, siginfo_t* info, void*) {
    code = info->si_code;
    value = info->si_value.sival_int;
    sender = info->si_pid;
    g_stop = 1;
  });
  const pid_t self = getpid();
  std::thread sender_thread([self, main = pthread_self()] {
    while (g_progress < 1000) usleep(1000);
    pthread_sigqueue(main, SIGRTMIN + 3, sigval{.sival_int = 4711});
  });
  const CallResult result = probe_.call(PROBE_OP_SPIN, {address_of(const_cast<std::uint64_t*>(&g_stop)),
                                                        address_of(const_cast<std::uint64_t*>(&g_progress))});
  sender_thread.join();
  EXPECT_TRUE(result.exited());
  EXPECT_EQ(code, SI_QUEUE);
  EXPECT_EQ(value, 4711);
  EXPECT_EQ(sender, self);
}

TEST(DispositionTest, BlockedRealtimeSignalsQueueAndArriveInOrder) {
  static std::vector<int> values;
  values.clear();
  const ScopedSigaction set(SIGRTMIN,
                            [](int, siginfo_t* info, void*) { values.push_back(info->si_value.sival_int); });
  {
    const ScopedSignalMask mask(SIG_BLOCK, {SIGRTMIN});
    for (int i = 0; i < 5; ++i) sigqueue(getpid(), SIGRTMIN, sigval{.sival_int = i});
    EXPECT_TRUE(values.empty());
  }
  EXPECT_EQ(values, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(DispositionTest, RaisedSynchronousSignalStaysPendingWhileBlocked) {
  static volatile int count;
  count = 0;
  for (const int signal : {SIGILL, SIGSEGV, SIGTRAP, SIGUSR1}) {
    const ScopedSigaction set(signal, [](int, siginfo_t*, void*) { count = count + 1; });
    {
      const ScopedSignalMask mask(SIG_BLOCK, {signal});
      raise(signal);
      EXPECT_EQ(count, 0) << signal;
      sigset_t pending;
      sigpending(&pending);
      EXPECT_EQ(sigismember(&pending, signal), 1) << signal;
    }
    EXPECT_EQ(count, 1) << signal;
    count = 0;
  }
}

// ---- The program's own faults ----

TEST(OwnFaultTest, SegmentationFaultHasAddressAndInstruction) {
  std::uint64_t site, next;
  asm volatile("lea 1f(%%rip), %0\n\tlea 2f(%%rip), %1" : "=r"(site), "=r"(next));
  const SignalCatcher catcher({SIGSEGV}, reinterpret_cast<const void*>(next));
  asm volatile("1: movq $0, 0x18\n2:" ::: "memory");
  ASSERT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), site);
  EXPECT_EQ(catcher.caught().address, 0x18u);
  EXPECT_EQ(catcher.caught().code, SEGV_MAPERR);
  EXPECT_EQ(catcher.caught().reg(REG_TRAPNO), static_cast<std::uint64_t>(kVectorPf));
  EXPECT_EQ(catcher.caught().reg(REG_ERR), 6u);
  EXPECT_EQ(catcher.caught().reg(REG_CR2), 0x18u);
}

TEST(OwnFaultTest, IllegalInstructionIsTheProgramsOwn) {
  std::uint64_t site, next;
  asm volatile("lea 1f(%%rip), %0\n\tlea 2f(%%rip), %1" : "=r"(site), "=r"(next));
  const SignalCatcher catcher({SIGILL}, reinterpret_cast<const void*>(next));
  asm volatile("1: ud2\n2:");
  ASSERT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), site);
  EXPECT_EQ(catcher.caught().code, ILL_ILLOPN);
  EXPECT_EQ(catcher.caught().address, site);
}

TEST(OwnFaultTest, BreakpointIsATrapBehindTheInstruction) {
  std::uint64_t next;
  asm volatile("lea 2f(%%rip), %0" : "=r"(next));
  const SignalCatcher catcher({SIGTRAP}, nullptr);
  asm volatile("int3\n2:");
  ASSERT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().reg(REG_RIP), next);
  EXPECT_EQ(catcher.caught().code, SI_KERNEL);
}

TEST(OwnFaultTest, DivisionByZeroIsSigfpe) {
  std::uint64_t next;
  asm volatile("lea 2f(%%rip), %0" : "=r"(next));
  const SignalCatcher catcher({SIGFPE}, reinterpret_cast<const void*>(next));
  asm volatile("xor %%edx, %%edx\n\tmov $1, %%eax\n\txor %%ecx, %%ecx\n\tdiv %%ecx\n2:" ::
                   : "rax", "rcx", "rdx");
  ASSERT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().code, FPE_INTDIV);
}

TEST(OwnFaultTest, BeyondTheEndOfAFileIsSigbus) {
  const int file = memfd_create("short", MFD_CLOEXEC);
  auto* mapped = static_cast<volatile char*>(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, file, 0));
  std::uint64_t next;
  asm volatile("lea 2f(%%rip), %0" : "=r"(next));
  const SignalCatcher catcher({SIGBUS}, reinterpret_cast<const void*>(next));
  asm volatile("mov (%0), %%al\n2:" ::"r"(mapped) : "rax");
  EXPECT_EQ(catcher.caught().count, 1);
  EXPECT_EQ(catcher.caught().code, BUS_ADRERR);
  EXPECT_EQ(catcher.caught().address, address_of(const_cast<char*>(mapped)));
  close(file);
}

TEST(OwnFaultTest, UnhandledFaultKillsWithItsSignal) {
  const struct {
    void (*fault)();
    int signal;
  } cases[] = {{[] { asm volatile("ud2"); }, SIGILL},
               {[] {
                  asm volatile("movq $0, 0" ::: "memory");
                },
                SIGSEGV},
               {[] { asm volatile("int3"); }, SIGTRAP}};
  for (const auto& tested : cases) {
    const int status = in_child([&] {
      tested.fault();
      return 3;
    });
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
    EXPECT_EQ(WTERMSIG(status), tested.signal);
  }
}

TEST(OwnFaultTest, FaultWhileItsSignalIsBlockedKillsInSpiteOfAHandler) {
  const int status = in_child([] {
    const ScopedSigaction set(SIGSEGV, [](int, siginfo_t*, void*) { _exit(4); });
    const ScopedSignalMask mask(SIG_BLOCK, {SIGSEGV});
    asm volatile("movq $0, 0" ::: "memory");
    return 3;
  });
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
}

TEST(OwnFaultTest, FaultWithItsSignalIgnoredKills) {
  const int status = in_child([] {
    signal(SIGILL, SIG_IGN);
    asm volatile("ud2");
    return 3;
  });
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_EQ(WTERMSIG(status), SIGILL);
}

TEST_F(SignalTest, HandlerOfAHostFaultMayEnterAnEnclave) {
  static const ProbeEnclave* probe;
  static volatile std::uint64_t sum;
  probe = &probe_;
  sum = 0;
  const ScopedSigaction set(SIGILL, [](int, siginfo_t*, void* raw) {
    sum = probe->call(PROBE_OP_SUM, {4, 5}).args.out[0];
    static_cast<ucontext_t*>(raw)->uc_mcontext.gregs[REG_RIP] += 2;
  });
  asm volatile("ud2");
  EXPECT_EQ(sum, 9u) << "an ENCLU works while SIGILL is blocked";
}

// ---- System calls of the host ----

TEST(InterruptedCallTest, ReadWithoutRestartIsEintr) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const ScopedSigaction set(SIGALRM, do_nothing);
  const IntervalTimer timer(20'000);
  char byte;
  EXPECT_EQ(read(ends[0], &byte, 1), -1);
  EXPECT_EQ(errno, EINTR);
  close(ends[0]);
  close(ends[1]);
}

TEST(InterruptedCallTest, ReadWithRestartGoesOn) {
  static int ends[2];
  static volatile int alarms;
  alarms = 0;
  ASSERT_EQ(pipe(ends), 0);
  const ScopedSigaction set(
      SIGALRM,
      [](int, siginfo_t*, void*) {
        alarms = alarms + 1;
        if (alarms == 3 && write(ends[1], "x", 1) != 1) _exit(1);
      },
      SA_RESTART);
  const IntervalTimer timer(10'000);
  char byte = 0;
  EXPECT_EQ(read(ends[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
  EXPECT_GE(alarms, 3);
  close(ends[0]);
  close(ends[1]);
}

volatile int g_order[4];
volatile int g_order_count = 0;
void note_order(int signal, siginfo_t*, void*) {
  if (g_order_count < 4) g_order[g_order_count] = signal;
  g_order_count = g_order_count + 1;
}

class TemporaryMaskTest : public ::testing::Test {
 protected:
  // With SIGUSR1 and SIGUSR2 blocked and pending, `wait` unblocks only SIGUSR1 for its time: one handler
  // runs, with SIGUSR2 still blocked, and afterwards the old mask is back.
  void check(const std::function<int(const sigset_t*)>& wait) {
    g_order_count = 0;
    const ScopedSigaction first(SIGUSR1, note_order), second(SIGUSR2, note_order);
    const ScopedSignalMask mask(SIG_BLOCK, {SIGUSR1, SIGUSR2, SIGILL});
    raise(SIGUSR1);
    raise(SIGUSR2);
    sigset_t temporary;
    pthread_sigmask(SIG_BLOCK, nullptr, &temporary);
    sigdelset(&temporary, SIGUSR1);
    errno = 0;
    EXPECT_EQ(wait(&temporary), -1);
    EXPECT_EQ(errno, EINTR);
    EXPECT_EQ(g_order_count, 1);
    EXPECT_EQ(g_order[0], SIGUSR1);
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    EXPECT_EQ(sigismember(&now, SIGUSR1), 1);
    EXPECT_EQ(sigismember(&now, SIGUSR2), 1);
    EXPECT_EQ(sigismember(&now, SIGILL), 1);
  }
};

TEST_F(TemporaryMaskTest, OfSigsuspend) {
  check([](const sigset_t* mask) { return sigsuspend(mask); });
}

TEST_F(TemporaryMaskTest, OfPpoll) {
  check([](const sigset_t* mask) {
    const timespec timeout{.tv_sec = 5, .tv_nsec = 0};
    return ppoll(nullptr, 0, &timeout, mask);
  });
}

TEST_F(TemporaryMaskTest, OfPselect) {
  check([](const sigset_t* mask) {
    const timespec timeout{.tv_sec = 5, .tv_nsec = 0};
    return pselect(0, nullptr, nullptr, nullptr, &timeout, mask);
  });
}

// ---- Threads ----

TEST(ThreadSignalTest, EachThreadInItsOwnTcsUnderASignalStorm) {
  constexpr unsigned kThreads = 8;
  ProbeOptions options;
  options.threads = kThreads;
  const ProbeEnclave probe(options);
  const ScopedSigaction handler(SIGUSR1, count_alarm);
  const NativeWork native;
  std::atomic<bool> done = false;
  std::atomic<unsigned> failures = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (std::uint64_t round = 0; round < 200; ++round) {
        const std::uint64_t seed = i * 1000 + round;
        const CallResult result = probe.call(PROBE_OP_WORK, {20'000, seed}, i);
        if (!result.exited() || result.args.out[0] != native(20'000, seed)) ++failures;
      }
    });
  }
  std::thread storm([&] {
    while (!done) {
      for (auto& thread : threads) pthread_kill(thread.native_handle(), SIGUSR1);
      usleep(200);
    }
  });
  // A thread that has ended but is not joined may still be signalled.
  sleep(1);
  done = true;
  storm.join();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0u);
}

TEST(ThreadSignalTest, TcsInUseIsAGeneralProtectionFaultForTheSecondThread) {
  reset_alarms();
  const ProbeEnclave probe;
  std::thread first([&] {
    probe.call(PROBE_OP_SPIN, {address_of(const_cast<std::uint64_t*>(&g_stop)),
                               address_of(const_cast<std::uint64_t*>(&g_progress))});
  });
  while (g_progress == 0) usleep(1000);
  const CallResult second = probe.call(PROBE_OP_NOP);
  g_stop = 1;
  first.join();
  EXPECT_EQ(second.run.function, kEenter);
  EXPECT_EQ(second.run.exception_vector, kVectorGp);
  EXPECT_TRUE(probe.call(PROBE_OP_NOP).exited()) << "and it is free again";
}

TEST(ThreadSignalTest, TwoThreadsShareTheEnclavesMemory) {
  ProbeOptions options;
  options.threads = 2;
  const ProbeEnclave probe(options);
  std::thread([&] { probe.write(probe.scratch() + 64, 99, 1); }).join();
  EXPECT_EQ(probe.read(probe.scratch() + 64, 0), 99u);
}

TEST(ThreadSignalTest, ThreadMayEndInAHandlerThatInterruptedTheEnclave) {
  reset_alarms();
  static ProbeEnclave* probe;
  ProbeEnclave local;
  probe = &local;
  const ScopedSigaction handler(SIGUSR1, [](int, siginfo_t*, void*) { pthread_exit(nullptr); });
  pthread_t thread;
  ASSERT_EQ(pthread_create(
                &thread, nullptr,
                [](void*) -> void* {
                  // On the stack of this thread nothing needs a destructor.
                  sgx_enclave_run run{};
                  ProbeArgs args{.in = {address_of(const_cast<std::uint64_t*>(&g_stop)),
                                        address_of(const_cast<std::uint64_t*>(&g_progress))},
                                 .out = {}};
                  run.tcs = probe->tcs();
                  enclume_test_call_vdso(PROBE_OP_SPIN, address_of(&args), 0, kEenter, 0, 0, &run,
                                         vdso_function());
                  return nullptr;
                },
                nullptr),
            0);
  while (g_progress == 0) usleep(1000);
  pthread_kill(thread, SIGUSR1);
  ASSERT_EQ(pthread_join(thread, nullptr), 0);
  // The AEX has freed the TCS; its interrupted level waits.
  RegisterFile seen;
  ASSERT_TRUE(local.call(PROBE_OP_ENTRY_STATE, {address_of(&seen)}).exited());
  EXPECT_EQ(seen.rax, 1u);
}

TEST(ThreadSignalTest, TwoThousandThreadsOneAfterTheOtherEnter) {
  const ProbeEnclave probe;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    std::uint64_t sum = 0;
    std::thread([&] { sum = probe.call(PROBE_OP_SUM, {i, 1}).args.out[0]; }).join();
    ASSERT_EQ(sum, i + 1);
  }
}

TEST(ThreadSignalTest, ManyThreadsAtOnceEnter) {
  constexpr unsigned kThreads = 64;
  ProbeOptions options;
  options.threads = kThreads;
  options.frames = 2;
  const ProbeEnclave probe(options);
  std::atomic<unsigned> good = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (std::uint64_t round = 0; round < 50; ++round) {
        if (probe.call(PROBE_OP_SUM, {i, round}, i).args.out[0] == i + round) ++good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, kThreads * 50);
}

}  // namespace
}  // namespace enclume::test
