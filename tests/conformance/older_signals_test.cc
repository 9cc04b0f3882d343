// SPDX-License-Identifier: Apache-2.0
//
// The signal interfaces of System V and of BSD, which libc has kept: as sigaction() and sigprocmask(), for
// the signals that enclaves need, too.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "conformance/support.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

// What programs of long ago are linked with.
struct Sigvec {
  void (*handler)(int);
  int mask;
  int flags;
};
extern "C" int old_sigvec(int, const Sigvec*, Sigvec*);
extern "C" int bsd_sigpause(int) __asm__("sigpause");
__asm__(".symver old_sigvec, sigvec@GLIBC_2.2.5");

namespace enclume::test {
namespace {

constexpr std::array kSynchronous = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};

volatile int g_count;
void count(int) {
  g_count = g_count + 1;
}

bool is_blocked(int signal) {
  sigset_t set;
  pthread_sigmask(SIG_BLOCK, nullptr, &set);
  return sigismember(&set, signal) == 1;
}

bool exceptions_come_through() {
  const ProbeEnclave probe;
  return probe.call(PROBE_OP_READ, {0x10}).run.exception_vector == kVectorPf;
}

class OlderSignalTest : public ::testing::TestWithParam<int> {
 protected:
  OlderSignalTest() { g_count = 0; }
  ~OlderSignalTest() override { signal(signal_, SIG_DFL); }
  const int signal_ = GetParam();
};
INSTANTIATE_TEST_SUITE_P(Signals, OlderSignalTest, ::testing::ValuesIn(kSynchronous),
                         [](const auto& tested) { return std::string(sigabbrev_np(tested.param)); });

TEST_P(OlderSignalTest, SigsetHoldsAndReleases) {
  EXPECT_EQ(sigset(signal_, count), SIG_DFL);
  EXPECT_EQ(sigset(signal_, SIG_HOLD), &count);
  raise(signal_);
  EXPECT_EQ(g_count, 0);
  EXPECT_TRUE(exceptions_come_through());
  EXPECT_EQ(sigrelse(signal_), 0);
  EXPECT_EQ(g_count, 1);
  EXPECT_EQ(sighold(signal_), 0);
  EXPECT_TRUE(is_blocked(signal_));
  EXPECT_EQ(sigset(signal_, SIG_DFL), SIG_HOLD);
  EXPECT_FALSE(is_blocked(signal_));
  EXPECT_EQ(sigignore(signal_), 0);
  raise(signal_);
  EXPECT_EQ(sigset(signal_, SIG_DFL), SIG_IGN);
}

TEST_P(OlderSignalTest, SigblockAndSigsetmask) {
  signal(signal_, count);
  const int bit = 1 << (signal_ - 1);
  EXPECT_EQ(sigblock(bit), 0);
  // By name, since the linker warns of a reference.
  const auto get_mask = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "siggetmask"));
  EXPECT_EQ(get_mask(), bit);
  EXPECT_TRUE(is_blocked(signal_));
  EXPECT_TRUE(exceptions_come_through());
  raise(signal_);
  EXPECT_EQ(g_count, 0);
  EXPECT_EQ(sigsetmask(0), bit);
  EXPECT_EQ(g_count, 1);
  EXPECT_FALSE(is_blocked(signal_));
}

TEST_P(OlderSignalTest, SigvecInstallsAHandlerWithItsMask) {
  const Sigvec vector = {[](int) { g_count = g_count + (is_blocked(SIGUSR1) ? 1 : 100); }, 1 << (SIGUSR1 - 1),
                         2};
  Sigvec before{};
  EXPECT_EQ(old_sigvec(signal_, &vector, nullptr), 0);
  EXPECT_TRUE(exceptions_come_through());
  raise(signal_);
  EXPECT_EQ(g_count, 1);
  EXPECT_EQ(old_sigvec(signal_, nullptr, &before), 0);
  EXPECT_EQ(before.handler, vector.handler);
  EXPECT_EQ(before.mask, vector.mask);
  EXPECT_EQ(before.flags, vector.flags);
}

TEST_P(OlderSignalTest, SigpauseTakesWhatIsHeld) {
  signal(signal_, count);
  ASSERT_EQ(sighold(signal_), 0);
  int (*const ways[])(int) = {[](int number) { return sigpause(number); },
                              [](int) { return bsd_sigpause(0); }};
  for (const auto way : ways) {
    g_count = 0;
    raise(signal_);
    EXPECT_EQ(way(signal_), -1);
    EXPECT_EQ(errno, EINTR);
    EXPECT_EQ(g_count, 1);
    EXPECT_TRUE(is_blocked(signal_));
  }
  EXPECT_EQ(sigrelse(signal_), 0);
}

TEST(OlderSignals, RefuseWhatIsNoSignal) {
  EXPECT_EQ(sigset(SIGKILL, SIG_IGN), SIG_ERR);
  EXPECT_EQ(sigset(1000, SIG_DFL), SIG_ERR);
  EXPECT_EQ(sighold(1000), -1);
  EXPECT_EQ(sigrelse(0), -1);
}

// syscall() is a way around libc's functions, whose pointers nobody has to check.
TEST(SyscallFunctionTest, BadPointersAreEfault) {
  auto* const bad = reinterpret_cast<void*>(0x10);
  std::uint64_t set = 0;
  stack_t stack{};
  const auto refused = [](long result) { return result == -1 && errno == EFAULT; };
  EXPECT_TRUE(refused(syscall(SYS_rt_sigprocmask, SIG_BLOCK, bad, nullptr, sizeof set)));
  EXPECT_TRUE(refused(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, bad, sizeof set)));
  EXPECT_TRUE(refused(syscall(SYS_sigaltstack, bad, nullptr)));
  EXPECT_TRUE(refused(syscall(SYS_sigaltstack, nullptr, bad)));
  EXPECT_TRUE(refused(syscall(SYS_rt_sigaction, SIGUSR1, bad, nullptr, sizeof set)));
  EXPECT_TRUE(refused(syscall(SYS_rt_sigaction, SIGUSR1, nullptr, bad, sizeof set)));
  EXPECT_TRUE(refused(syscall(SYS_rt_sigpending, bad, sizeof set)));
  EXPECT_EQ(syscall(SYS_sigaltstack, nullptr, &stack), 0);
  EXPECT_EQ(syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &set, sizeof set), 0);
}

// As libc refuses them: its cancellation and its setuid() for all threads hang on them.
TEST(LibcsSignals, AreRefused) {
  for (const int number : {32, 33}) {
    errno = 0;
    EXPECT_EQ(signal(number, SIG_IGN), SIG_ERR) << number;
    EXPECT_EQ(errno, EINVAL) << number;
    errno = 0;
    EXPECT_EQ(siginterrupt(number, 1), -1) << number;
    EXPECT_EQ(errno, EINVAL) << number;
  }
}

}  // namespace
}  // namespace enclume::test
