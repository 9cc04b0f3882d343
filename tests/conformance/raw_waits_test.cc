// SPDX-License-Identifier: Apache-2.0
//
// System calls without libc that wait, and what ends them.
#include <asm/unistd.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "conformance/raw_actions.h"
#include "conformance/raw_syscall.h"
#include "conformance/support.h"

namespace enclume::test {
namespace {

// -- Interrupted calls

void interrupt_soon(long tid, std::atomic<bool>& stop) {
  while (!stop) {
    timespec pause{0, 2'000'000};
    ::nanosleep(&pause, nullptr);
    ::syscall(SYS_tgkill, ::getpid(), tid, SIGUSR1);
  }
}

class InterruptedRawCallTest : public ::testing::Test {
 protected:
  void start(std::uint64_t flags) {
    handled = 0;
    ASSERT_EQ(set_action(SIGUSR1, action_for(&count, flags)), 0);
    const long tid = raw(__NR_gettid);
    sender_ = std::thread([this, tid] { interrupt_soon(tid, stop_); });
  }
  void TearDown() override {
    stop_ = true;
    if (sender_.joinable()) sender_.join();
  }
  std::atomic<bool> stop_ = false;
  std::thread sender_;
};

TEST_F(InterruptedRawCallTest, NanosleepIsEintrAndSaysWhatIsLeft) {
  start(SA_RESTART);
  timespec wanted{5, 0}, left{};
  EXPECT_EQ(raw(__NR_nanosleep, &wanted, &left), -EINTR);
  EXPECT_GE(handled, 1);
  // The kernel counts to the end of the timer's slack (update_rmtp()), so it may be a little more than was
  // asked.
  EXPECT_TRUE(left.tv_sec == 4 || (left.tv_sec == 5 && left.tv_nsec < 1'000'000))
      << left.tv_sec << " s " << left.tv_nsec;
}

TEST_F(InterruptedRawCallTest, ReadIsEintrWithoutRestart) {
  int ends[2];
  ASSERT_EQ(raw(__NR_pipe, ends), 0);
  start(0);
  char c;
  EXPECT_EQ(raw(__NR_read, ends[0], &c, 1), -EINTR);
  EXPECT_GE(handled, 1);
}

TEST_F(InterruptedRawCallTest, ReadGoesOnWithRestart) {
  int ends[2];
  ASSERT_EQ(raw(__NR_pipe, ends), 0);
  start(SA_RESTART);
  std::thread writer([&] {
    while (handled < 5) std::this_thread::yield();
    ASSERT_EQ(::write(ends[1], "x", 1), 1);
  });
  char c = 0;
  EXPECT_EQ(raw(__NR_read, ends[0], &c, 1), 1);
  EXPECT_EQ(c, 'x');
  EXPECT_GE(handled, 5);
  writer.join();
}

TEST_F(InterruptedRawCallTest, FutexWaitGoesOnWithRestartAndEndsWithout) {
  std::atomic<std::uint32_t> word = 0;
  start(SA_RESTART);
  std::thread waker([&] {
    while (handled < 5) std::this_thread::yield();
    word = 1;
    ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1);
  });
  const long woken = raw(__NR_futex, &word, FUTEX_WAIT_PRIVATE, 0, nullptr);
  EXPECT_TRUE(woken == 0 || woken == -EAGAIN)
      << woken;  // the latter if it is made again after the word's change
  waker.join();
  ASSERT_EQ(set_action(SIGUSR1, action_for(&count, 0)), 0);
  EXPECT_EQ(raw(__NR_futex, &word, FUTEX_WAIT_PRIVATE, 1, nullptr), -EINTR);
}

// Each write counts once: no call is lost and none is made twice, wherever the signals hit.
TEST_F(InterruptedRawCallTest, NoCallIsMadeTwiceUnderManySignals) {
  const long file = raw(__NR_memfd_create, "count", 0);
  ASSERT_GE(file, 0);
  handled = 0;
  ASSERT_EQ(set_action(SIGUSR1, action_for(&count, SA_RESTART)), 0);
  const long tid = raw(__NR_gettid);
  sender_ = std::thread([this, tid] {
    while (!stop_) ::syscall(SYS_tgkill, ::getpid(), tid, SIGUSR1);
  });
  int writes = 0;
  for (; writes < 3000 || handled < 100; ++writes) ASSERT_EQ(raw(__NR_write, file, "x", 1), 1);
  stop_ = true;
  EXPECT_EQ(raw(__NR_lseek, file, 0, SEEK_CUR), writes);
}

// -- Waiting for a signal that comes to another thread

TEST(RawWaitTest, SignalOfTheProcessThatAnotherThreadBlocksWakesTheOneThatWaits) {
  EXPECT_EQ(in_child([] {
              const std::uint64_t set = 1ULL << (SIGFPE - 1);
              raw(__NR_rt_sigprocmask, SIG_BLOCK, &set, nullptr, 8);
              std::atomic<bool> waits{false};
              std::atomic<long> result{0};
              siginfo_t info{};
              std::thread waiter([&] {
                waits = true;
                const timespec limit{20, 0};
                result = raw(__NR_rt_sigtimedwait, &set, &info, &limit, 8);
              });
              while (!waits) ::sched_yield();
              ::usleep(20000);
              ::kill(::getpid(), SIGFPE);
              waiter.join();
              return result == SIGFPE && info.si_signo == SIGFPE ? 0 : 1;
            }),
            0);
}

TEST(RawWaitTest, SignalThatIsBlockedDoesNotEndAWaitForAnother) {
  EXPECT_EQ(in_child([] {
              const std::uint64_t both = 1ULL << (SIGFPE - 1) | 1ULL << (SIGBUS - 1);
              const std::uint64_t wanted = 1ULL << (SIGFPE - 1);
              raw(__NR_rt_sigprocmask, SIG_BLOCK, &both, nullptr, 8);
              const long tid = raw(__NR_gettid);
              std::thread sender([tid] {
                ::usleep(20000);
                ::syscall(SYS_tgkill, ::getpid(), tid, SIGBUS);
                ::usleep(20000);
                ::syscall(SYS_tgkill, ::getpid(), tid, SIGFPE);
              });
              const long result = raw(__NR_rt_sigtimedwait, &wanted, nullptr, nullptr, 8);
              sender.join();
              return result == SIGFPE ? 0 : 1;
            }),
            0);
}

// As the kernel has it: the call is none of those that go on.
TEST(RawWaitTest, ProcessThatWasStoppedAndGoesOnGetsEintr) {
  for (const std::uint64_t set : {bit(SIGUSR2), bit(SIGUSR2) | bit(SIGFPE)}) {
    const auto body = [set] {
      raw(__NR_rt_sigprocmask, SIG_BLOCK, &set, nullptr, 8);
      const int waiter = ::getpid();
      const int helper = ::fork();
      if (helper == 0) {
        ::usleep(50000);
        ::kill(waiter, SIGSTOP);
        ::usleep(20000);
        ::kill(waiter, SIGCONT);
        ::_exit(0);
      }
      const timespec limit{2, 0};
      return raw(__NR_rt_sigtimedwait, &set, nullptr, &limit, 8) == -EINTR ? 0 : 1;
    };
    EXPECT_EQ(in_child(body), 0) << set;
  }
}

}  // namespace
}  // namespace enclume::test
