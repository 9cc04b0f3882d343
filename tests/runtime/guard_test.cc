// SPDX-License-Identifier: Apache-2.0
// Guards for host code, with and without an engine: each fault to its guard, everything else to whoever was
// there.
#include <fenv.h>
#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "enclume/host/guard.h"

namespace {

using enclume::Fault;
using enclume::guard;

[[gnu::noinline]] std::uint64_t read(std::uint64_t address) {
  return *reinterpret_cast<const volatile std::uint64_t*>(address);
}
// Its end, in the order of the source; close enough for a range that must contain it.
[[gnu::noinline]] void trap() {
  asm volatile("ud2");
}

TEST(HostGuard, ReturnsWhatTheCallableReturns) {
  EXPECT_EQ(guard([] { return std::string("fine"); }), "fine");
  EXPECT_TRUE(guard([] {}));
}

TEST(HostGuard, TurnsAPageFaultIntoItsFacts) {
  const auto result = guard([] { return read(0x1238); });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error(), (Fault{14, 4, 0x1238}));
}

TEST(HostGuard, TurnsTheSigbusOfATruncatedFileIntoItsFacts) {
  char path[] = "/tmp/enclume-guard-XXXXXX";
  const int file = mkstemp(path);
  ASSERT_EQ(ftruncate(file, 4096), 0);
  void* const mapped = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  const auto address = reinterpret_cast<std::uint64_t>(mapped);
  EXPECT_EQ(guard([&] { return read(address + 8); }), 0U);
  ASSERT_EQ(ftruncate(file, 0), 0);
  const auto result = guard([&] { return read(address + 8); });
  munmap(mapped, 4096);
  close(file);
  unlink(path);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().vector, 14);
  EXPECT_EQ(result.error().address, address + 8);
}

TEST(HostGuard, HasOtherVectorsToo) {
  const auto invalid = guard(trap);
  ASSERT_FALSE(invalid);
  EXPECT_EQ(invalid.error().vector, 6);
  volatile int zero = 0, one = 1;
  const auto division = guard([&] { return one / zero; });
  ASSERT_FALSE(division);
  EXPECT_EQ(division.error().vector, 0);
}

TEST(HostGuard, TheInnermostHasIt) {
  const auto outer = guard([] {
    const auto inner = guard([] { return read(0x1000); });
    return inner ? 0 : 7;
  });
  EXPECT_EQ(outer, 7);
}

TEST(HostGuard, OfAnotherRangePassesOutward) {
  const auto outer = guard([] {
    const char elsewhere[1]{};
    return guard([] { trap(); }, {elsewhere, elsewhere + 1}).has_value();
  });
  ASSERT_FALSE(outer);
  EXPECT_EQ(outer.error().vector, 6);
}

TEST(HostGuard, OfTheRightRangeHasIt) {
  const auto* const code = reinterpret_cast<const char*>(&trap);
  EXPECT_FALSE(guard([] { trap(); }, {code, code + 16}));
}

TEST(HostGuard, LetsExceptionsThrough) {
  const auto outer = guard([] {
    EXPECT_THROW(static_cast<void>(guard([]() -> int { throw std::runtime_error("out"); })),
                 std::runtime_error);
    return read(0x1000);
  });
  EXPECT_FALSE(outer);
}

TEST(HostGuard, KeepsMaskAndRoundingMode) {
  sigset_t before, after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  const auto result = guard([] {
    fesetround(FE_UPWARD);
    return read(0x1000);
  });
  EXPECT_FALSE(result);
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (int number = 1; number < NSIG; ++number) {
    EXPECT_EQ(sigismember(&before, number), sigismember(&after, number)) << number;
  }
  EXPECT_EQ(fegetround(), FE_TONEAREST);
}

TEST(HostGuard, IsItsThreadsAlone) {
  std::vector<std::thread> threads;
  std::atomic<int> caught = 0;
  for (std::uint64_t n = 1; n <= 4; ++n) {
    threads.emplace_back([&caught, n] {
      for (int i = 0; i < 500; ++i) {
        const auto result = guard([&] { return read(n * 8); });
        caught += !result && result.error().address == n * 8 ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(caught, 2000);
}

sigjmp_buf jump;
int handled = 0;
void count_and_jump(int) {
  ++handled;
  siglongjmp(jump, 1);
}

TEST(HostGuard, LeavesOtherFaultsToTheHandlerThatWasThere) {
  handled = 0;
  signal(SIGSEGV, count_and_jump);
  enclume::renew_guards();
  EXPECT_FALSE(guard([] { return read(0x1000); }));
  EXPECT_EQ(handled, 0);
  if (sigsetjmp(jump, 1) == 0) read(0x1000);
  EXPECT_EQ(handled, 1);
  // And goes on working afterwards.
  EXPECT_FALSE(guard([] { return read(0x1000); }));
}

struct sigaction behind;
void pass_on(int number, siginfo_t* info, void* context) {
  ++handled;
  behind.sa_sigaction(number, info, context);
}

TEST(HostGuard, WorksBehindAHandlerThatPassesOn) {
  handled = 0;
  EXPECT_FALSE(guard([] { return read(0x1000); }));
  struct sigaction later {};
  later.sa_sigaction = pass_on;
  later.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &later, &behind);
  EXPECT_FALSE(guard([] { return read(0x1000); }));
  EXPECT_EQ(handled, 1);
  sigaction(SIGSEGV, &behind, nullptr);
}

TEST(HostGuardDeathTest, TwoThatPassOnToEachOtherDoNotDoSoForEver) {
  EXPECT_TRUE(guard([] {}));
  struct sigaction later {};
  later.sa_sigaction = pass_on;
  later.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &later, &behind);
  enclume::renew_guards();
  EXPECT_EXIT(read(0x1000), testing::KilledBySignal(SIGSEGV), "");
}

TEST(HostGuardDeathTest, WithoutOneTheProcessEndsAsItWould) {
  EXPECT_TRUE(guard([] {}));
  EXPECT_EXIT(read(0x1000), testing::KilledBySignal(SIGSEGV), "");
  EXPECT_EXIT(kill(getpid(), SIGSEGV), testing::KilledBySignal(SIGSEGV), "");
}

}  // namespace
