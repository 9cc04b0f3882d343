// SPDX-License-Identifier: Apache-2.0
//
// Ways to leave a place without returning from it: sigsetjmp() and siglongjmp(), the ucontext functions. Each
// carries the signal mask, SIGILL and SIGSEGV included. Compiled with _FORTIFY_SOURCE, which checks the
// jumps.
#include <gtest/gtest.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "conformance/support.h"

// The function, which is BSD's and keeps the mask; the macro of <setjmp.h> keeps none.
extern "C" int bsd_setjmp(jmp_buf) __asm__("setjmp") __attribute__((returns_twice));

namespace enclume::test {
namespace {

constexpr std::initializer_list<int> kSynchronous = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};

bool is_blocked(int signal) {
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  return sigismember(&mask, signal) == 1;
}

sigjmp_buf g_jump;
std::atomic<int> g_round;  // A jump leaves it as it is.
void jump(int, siginfo_t*, void*) {
  siglongjmp(g_jump, 1);
}

// ---- sigsetjmp and siglongjmp ----

TEST(JumpTest, HandlerThatLeavesByALongjmpUnblocksItsSignal) {
  for (const int signal : kSynchronous) {
    const ScopedSigaction handler(signal, jump, 0, {SIGUSR1, SIGSEGV});
    for (g_round = 0; g_round < 3; ++g_round) {
      if (sigsetjmp(g_jump, 1) == 0) {
        raise(signal);
        FAIL() << "no signal " << signal;
      }
      EXPECT_FALSE(is_blocked(signal)) << signal << ", round " << g_round;
      EXPECT_FALSE(is_blocked(SIGSEGV)) << signal << ", round " << g_round;
      EXPECT_FALSE(is_blocked(SIGUSR1)) << signal << ", round " << g_round;
    }
  }
}

TEST(JumpTest, FaultsCanBeCaughtAgainAndAgain) {
  const ScopedSigaction handler(SIGSEGV, jump);
  volatile int caught = 0;
  for (g_round = 0; g_round < 1000; ++g_round) {
    if (sigsetjmp(g_jump, 1) == 0) {
      *static_cast<volatile int*>(nullptr) = 1;
    } else {
      caught = caught + 1;
    }
  }
  EXPECT_EQ(caught, 1000);
}

TEST(JumpTest, MaskOfTheJumpBufferComesBackWithWhatWasBlockedThen) {
  const ScopedSignalMask mask(SIG_BLOCK, {SIGILL, SIGUSR2});
  if (sigsetjmp(g_jump, 1) == 0) {
    const ScopedSignalMask other(SIG_SETMASK, {SIGBUS, SIGUSR1});
    siglongjmp(g_jump, 1);
  }
  EXPECT_TRUE(is_blocked(SIGILL));
  EXPECT_TRUE(is_blocked(SIGUSR2));
  EXPECT_FALSE(is_blocked(SIGBUS));
  EXPECT_FALSE(is_blocked(SIGUSR1));
}

TEST(JumpTest, WithoutTheMaskItStaysAsItIs) {
  const ScopedSignalMask keep(SIG_BLOCK, {});
  const ScopedSigaction handler(SIGTRAP, jump);
  if (sigsetjmp(g_jump, 0) == 0) raise(SIGTRAP);
  EXPECT_TRUE(is_blocked(SIGTRAP));
}

TEST(JumpTest, SetjmpTheFunctionKeepsTheMask) {
  const ScopedSigaction handler(SIGFPE, jump);
  if (bsd_setjmp(g_jump) == 0) raise(SIGFPE);
  EXPECT_FALSE(is_blocked(SIGFPE));
}

volatile int g_count;
volatile bool g_blocked_in_handler;

void jump_while_pending(int signal) {
  if (sigsetjmp(g_jump, 1) != 0) return;
  const ScopedSignalMask mask(SIG_BLOCK, {SIGSEGV, SIGUSR1, SIGUSR2, SIGILL});
  raise(signal);
  EXPECT_EQ(g_count, 0) << signal;
  siglongjmp(g_jump, 1);
}

TEST(JumpTest, BlockedSignalThatTheJumpUnblocksComesBeforeItLands) {
  for (const int signal : {SIGSEGV, SIGUSR1}) {
    g_count = 0;
    const ScopedSigaction handler(signal, [](int, siginfo_t*, void*) {
      g_count = g_count + 1;
      g_blocked_in_handler = is_blocked(SIGUSR2) || is_blocked(SIGILL);
    });
    jump_while_pending(signal);
    EXPECT_EQ(g_count, 1) << signal;
    EXPECT_FALSE(g_blocked_in_handler) << "it runs with the mask that the jump restores";
  }
}

TEST(JumpTest, OffAnAlternateStackAboveTheThreadsStack) {
  // Downwards in memory: what _FORTIFY_SOURCE refuses anywhere else.
  constexpr std::size_t kStack = 256 * 1024;
  void* memory =
      mmap(nullptr, 2 * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  static void* above;
  above = static_cast<std::uint8_t*>(memory) + kStack;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, memory, kStack);
  pthread_t thread;
  const auto body = [](void*) -> void* {
    static int landed;
    landed = 0;
    const stack_t stack{.ss_sp = above, .ss_flags = 0, .ss_size = kStack};
    sigaltstack(&stack, nullptr);
    const ScopedSigaction handler(SIGSEGV, jump, SA_ONSTACK);
    for (g_round = 0; g_round < 3; ++g_round) {
      if (sigsetjmp(g_jump, 1) == 0) {
        *static_cast<volatile int*>(nullptr) = 1;
      } else {
        landed = landed + 1;
      }
    }
    const stack_t off{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    sigaltstack(&off, nullptr);
    return &landed;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, body, nullptr), 0);
  void* result = nullptr;
  pthread_join(thread, &result);
  EXPECT_EQ(*static_cast<int*>(result), 3);
  pthread_attr_destroy(&attributes);
  munmap(memory, 2 * kStack);
}

TEST(JumpTest, EnclavesWorkAfterAJumpOutOfTheHandlerOfTheirException) {
  const ProbeEnclave probe;
  const ScopedSigaction handler(SIGILL, jump);
  RegisterFile in{}, out{};
  ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  for (g_round = 0; g_round < 3; ++g_round) {
    if (sigsetjmp(g_jump, 1) == 0) {
      in.rax = static_cast<std::uint64_t>(Leaf::kEenter);
      in.rbx = probe.tcs();
      in.rdi = PROBE_OP_RAISE;
      in.rsi = address_of(&args);
      enclume_test_raw_enclu(&in, &out);
      FAIL();
    }
    EXPECT_FALSE(is_blocked(SIGILL));
    probe.abandon();
  }
  EXPECT_EQ(probe.call(PROBE_OP_SUM, {40, 2}).args.out[0], 42u);
}

// ---- Contexts ----

TEST(ContextTest, GetcontextHoldsTheWholeMask) {
  const ScopedSignalMask mask(SIG_BLOCK, {SIGSEGV, SIGILL, SIGUSR1});
  ucontext_t context;
  ASSERT_EQ(getcontext(&context), 0);
  for (const int signal : {SIGSEGV, SIGILL, SIGUSR1}) EXPECT_EQ(sigismember(&context.uc_sigmask, signal), 1);
  EXPECT_EQ(sigismember(&context.uc_sigmask, SIGBUS), 0);
}

TEST(ContextTest, SetcontextSetsTheWholeMask) {
  const ScopedSignalMask keep(SIG_BLOCK, {});
  ucontext_t context;
  volatile bool again = false;
  ASSERT_EQ(getcontext(&context), 0);
  if (!again) {
    again = true;
    sigaddset(&context.uc_sigmask, SIGSEGV);
    sigaddset(&context.uc_sigmask, SIGUSR1);
    setcontext(&context);
    FAIL();
  }
  EXPECT_TRUE(is_blocked(SIGSEGV));
  EXPECT_TRUE(is_blocked(SIGUSR1));
  // A program that has blocked these by a context has enclaves all the same.
  const ProbeEnclave probe;
  EXPECT_EQ(probe.call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}).run.exception_vector, kVectorUd);
}

TEST(ContextTest, RegistersAndMaskOfAHandlersContextCanBeSet) {
  static volatile int count;
  count = 0;
  const ScopedSignalMask mask(SIG_BLOCK, {SIGTRAP});
  const ScopedSigaction handler(SIGILL, [](int, siginfo_t*, void* raw) {
    count = count + 1;
    const auto& interrupted = *static_cast<const ucontext_t*>(raw);
    // libc's setcontext() wants the floating-point state where getcontext() stores it.
    ucontext_t context;
    getcontext(&context);
    std::memcpy(context.uc_mcontext.gregs, interrupted.uc_mcontext.gregs, sizeof(gregset_t));
    std::memcpy(&context.uc_sigmask, &interrupted.uc_sigmask, sizeof(std::uint64_t));
    context.uc_mcontext.gregs[REG_RIP] += 2;  // behind UD2
    setcontext(&context);
    _exit(9);
  });
  for (g_round = 0; g_round < 3; ++g_round) asm volatile("ud2" ::: "memory", "rax", "r10", "r11", "cc");
  EXPECT_EQ(count, 3);
  EXPECT_FALSE(is_blocked(SIGILL));
  EXPECT_TRUE(is_blocked(SIGTRAP)) << "it was when SIGILL came";
}

ucontext_t g_main, g_other;
std::vector<long> g_arguments;
volatile bool g_seen_blocked;
volatile std::uint64_t g_alignment;

void with_arguments(long a, long b, long c, long d, long e, long f, long g, long h, long i) {
  alignas(16) volatile char aligned[16] = {};
  g_alignment = address_of(const_cast<char*>(aligned)) % 16;
  g_arguments = {a, b, c, d, e, f, g, h, i};
}

void yield_twice() {
  g_seen_blocked = is_blocked(SIGSEGV);
  pthread_sigmask(SIG_UNBLOCK, &g_main.uc_sigmask, nullptr);
  swapcontext(&g_other, &g_main);
  g_seen_blocked = is_blocked(SIGSEGV);
}

TEST(ContextTest, MakecontextPassesArgumentsAndReturnsToItsLink) {
  std::vector<std::uint8_t> stack(64 * 1024);
  for (const std::size_t odd : {0u, 8u, 24u}) {
    g_arguments.clear();
    volatile bool returned = false;
    ucontext_t after;
    getcontext(&after);
    if (!returned) {
      returned = true;
      getcontext(&g_other);
      g_other.uc_stack = {.ss_sp = stack.data(), .ss_flags = 0, .ss_size = stack.size() - odd};
      g_other.uc_link = &after;
      makecontext(&g_other, reinterpret_cast<void (*)()>(&with_arguments), 9, 1L, -2L, 3L, 4L << 40, 5L, 6L,
                  7L, 8L << 40, 9L);
      setcontext(&g_other);
      FAIL();
    }
    EXPECT_EQ(g_arguments, (std::vector<long>{1, -2, 3, 4L << 40, 5, 6, 7, 8L << 40, 9}));
    EXPECT_EQ(g_alignment, 0u);
  }
}

TEST(ContextTest, SwapcontextSwapsTheMasks) {
  std::vector<std::uint8_t> stack(64 * 1024);
  getcontext(&g_other);
  g_other.uc_stack = {.ss_sp = stack.data(), .ss_flags = 0, .ss_size = stack.size()};
  g_other.uc_link = &g_main;
  makecontext(&g_other, yield_twice, 0);
  {
    const ScopedSignalMask mask(SIG_BLOCK, {SIGSEGV, SIGUSR1});
    g_seen_blocked = true;
    swapcontext(&g_main, &g_other);
    EXPECT_FALSE(g_seen_blocked) << "the context was made without it";
    EXPECT_TRUE(is_blocked(SIGSEGV));
    EXPECT_TRUE(is_blocked(SIGUSR1));
    g_seen_blocked = true;
    swapcontext(&g_main, &g_other);
    EXPECT_FALSE(g_seen_blocked);
    EXPECT_TRUE(is_blocked(SIGSEGV)) << "uc_link has it";
  }
  EXPECT_FALSE(is_blocked(SIGSEGV));
}

TEST(ContextTest, EnclaveCallsInCoroutines) {
  static const ProbeEnclave* probe;
  static std::uint64_t sums[100];
  const ProbeEnclave own;
  probe = &own;
  std::vector<std::uint8_t> stack(256 * 1024);
  getcontext(&g_other);
  g_other.uc_stack = {.ss_sp = stack.data(), .ss_flags = 0, .ss_size = stack.size()};
  g_other.uc_link = &g_main;
  makecontext(
      &g_other,
      +[] {
        for (std::uint64_t i = 0; i < 100; ++i) {
          sums[i] = probe->call(PROBE_OP_SUM, {i, i}).args.out[0];
          swapcontext(&g_other, &g_main);
        }
      },
      0);
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_EQ(swapcontext(&g_main, &g_other), 0);
    ASSERT_EQ(sums[i], 2 * i);
    ASSERT_EQ(own.call(PROBE_OP_SUM, {i, 1}).args.out[0], i + 1);
  }
  swapcontext(&g_main, &g_other);
}

}  // namespace
}  // namespace enclume::test
