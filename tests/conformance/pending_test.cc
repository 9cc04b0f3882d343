// SPDX-License-Identifier: Apache-2.0
//
// Signals that are sent while they are blocked: pending for a thread or for the process, waited for, handed
// to a thread that takes them, inherited or not. The same for signals that exceptions use as for all others.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr int kSynchronous[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};
constexpr std::initializer_list<int> kAll = {SIGILL,  SIGTRAP, SIGBUS,  SIGFPE,
                                             SIGSEGV, SIGSYS,  SIGUSR1, SIGUSR2};
constexpr timespec kNoTime = {0, 0};
constexpr timespec kLong = {10, 0};

sigset_t set_of(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  return set;
}

bool is_pending(int signal) {
  sigset_t set;
  sigpending(&set);
  return sigismember(&set, signal) == 1;
}

bool is_blocked(int signal) {
  sigset_t set;
  pthread_sigmask(SIG_BLOCK, nullptr, &set);
  return sigismember(&set, signal) == 1;
}

void send_to_thread(pid_t tid, int signal) {
  syscall(SYS_tgkill, getpid(), tid, signal);
}

std::atomic<int> g_count;
std::atomic<pid_t> g_handled_by;
std::atomic<int> g_value;
void note(int, siginfo_t* info, void*) {
  g_handled_by = gettid();
  g_value = info->si_value.sival_int;
  ++g_count;  // last: others wait for it
}

// A thread that blocks everything, or all but `open`, until this is gone.
class OtherThread {
 public:
  explicit OtherThread(std::initializer_list<int> open = {}) {
    thread_ = std::thread([this, set = set_of(open)] {
      sigset_t mask;
      sigfillset(&mask);
      pthread_sigmask(SIG_SETMASK, &mask, nullptr);
      pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
      tid_ = gettid();
      while (!stop_) usleep(200);
    });
    while (tid_ == 0) usleep(100);
  }
  ~OtherThread() {
    stop_ = true;
    thread_.join();
  }
  pid_t tid() const { return tid_; }
  pthread_t handle() { return thread_.native_handle(); }

 private:
  std::atomic<pid_t> tid_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

class PendingTest : public ::testing::Test {
 protected:
  PendingTest() : mask_(SIG_BLOCK, kAll) { g_count = 0; }
  ~PendingTest() override {
    // What a test that failed has left must not end the next one.
    sigset_t all = set_of(kAll);
    while (sigtimedwait(&all, nullptr, &kNoTime) > 0) {
    }
  }

 private:
  ScopedSignalMask mask_;
};

class PendingSignalTest : public PendingTest, public ::testing::WithParamInterface<int> {
 protected:
  const int signal_ = GetParam();
  const sigset_t set_ = set_of({GetParam()});
};
INSTANTIATE_TEST_SUITE_P(Signals, PendingSignalTest,
                         ::testing::Values(SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, SIGUSR1),
                         [](const auto& tested) { return std::string(sigabbrev_np(tested.param)); });

TEST_P(PendingSignalTest, IsPendingUntilSigwaitTakesIt) {
  raise(signal_);
  EXPECT_TRUE(is_pending(signal_));
  int got = 0;
  EXPECT_EQ(sigwait(&set_, &got), 0);
  EXPECT_EQ(got, signal_);
  EXPECT_FALSE(is_pending(signal_));
  EXPECT_TRUE(is_blocked(signal_));
}

TEST_P(PendingSignalTest, SigwaitinfoTellsTheSender) {
  kill(getpid(), signal_);
  siginfo_t info{};
  EXPECT_EQ(sigwaitinfo(&set_, &info), signal_);
  EXPECT_EQ(info.si_signo, signal_);
  EXPECT_EQ(info.si_code, SI_USER);
  EXPECT_EQ(info.si_pid, getpid());
}

TEST_P(PendingSignalTest, RawSigtimedwaitTellsTgkillFromKill) {
  send_to_thread(gettid(), signal_);
  siginfo_t info{};
  EXPECT_EQ(syscall(SYS_rt_sigtimedwait, &set_, &info, &kNoTime, 8), signal_);
  EXPECT_EQ(info.si_code, SI_TKILL);
}

TEST_P(PendingSignalTest, PayloadComesThrough) {
  for (const bool to_thread : {false, true}) {
    if (to_thread) {
      ASSERT_EQ(pthread_sigqueue(pthread_self(), signal_, sigval{.sival_int = 4711}), 0);
    } else {
      ASSERT_EQ(sigqueue(getpid(), signal_, sigval{.sival_int = 4711}), 0);
    }
    siginfo_t info{};
    EXPECT_EQ(sigwaitinfo(&set_, &info), signal_);
    EXPECT_EQ(info.si_code, SI_QUEUE);
    EXPECT_EQ(info.si_errno, 0);
    EXPECT_EQ(info.si_value.sival_int, 4711);
  }
}

TEST_P(PendingSignalTest, OneOfItsNumberIsKeptAndTheFirst) {
  sigqueue(getpid(), signal_, sigval{.sival_int = 1});
  sigqueue(getpid(), signal_, sigval{.sival_int = 2});
  siginfo_t info{};
  EXPECT_EQ(sigwaitinfo(&set_, &info), signal_);
  EXPECT_EQ(info.si_value.sival_int, 1);
  EXPECT_EQ(sigtimedwait(&set_, &info, &kNoTime), -1);
  EXPECT_EQ(errno, EAGAIN);
}

TEST_P(PendingSignalTest, AnotherSetDoesNotTakeIt) {
  raise(signal_);
  const sigset_t other = set_of({SIGUSR2, signal_ == SIGILL ? SIGTRAP : SIGILL});
  EXPECT_EQ(sigtimedwait(&other, nullptr, &kNoTime), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_TRUE(is_pending(signal_));
}

TEST_P(PendingSignalTest, WaiterIsWokenByAnyWayOfSending) {
  void (*const ways[])(pthread_t, int) = {
      [](pthread_t, int signal) { kill(getpid(), signal); },
      [](pthread_t thread, int signal) { pthread_kill(thread, signal); },
      [](pthread_t thread, int signal) { pthread_sigqueue(thread, signal, sigval{}); }};
  for (const auto way : ways) {
    std::thread sender([&, waiter = pthread_self()] {
      usleep(5000);
      way(waiter, signal_);
    });
    siginfo_t info{};
    EXPECT_EQ(sigtimedwait(&set_, &info, &kLong), signal_);
    sender.join();
  }
}

TEST_P(PendingSignalTest, AThreadInSigwaitGetsWhatIsSentToTheProcess) {
  // The classic arrangement: all threads block everything, one waits.
  std::atomic<int> got = 0;
  std::thread waiter([&] {
    int signal = 0;
    sigwait(&set_, &signal);
    got = signal;
  });
  usleep(5000);
  kill(getpid(), signal_);
  waiter.join();
  EXPECT_EQ(got, signal_);
  EXPECT_FALSE(is_pending(signal_));
}

TEST_P(PendingSignalTest, AThreadThatDoesNotBlockItHandlesWhatIsSentToTheProcess) {
  const ScopedSigaction handler(signal_, note);
  OtherThread other({signal_});
  sigqueue(getpid(), signal_, sigval{.sival_int = 7});
  while (g_count == 0) usleep(100);
  EXPECT_EQ(g_handled_by, other.tid());
  EXPECT_EQ(g_value, 7);
}

TEST_P(PendingSignalTest, AThreadThatNeverAskedForAMaskHandlesItToo) {
  const ScopedSigaction handler(signal_, note);
  std::atomic<bool> stop = false;
  std::atomic<pid_t> tid = 0;
  std::thread other;
  {
    const ScopedSignalMask none(SIG_UNBLOCK, kAll);
    other = std::thread([&] {
      tid = gettid();
      while (!stop) usleep(200);
    });
  }
  while (tid == 0) usleep(100);
  kill(getpid(), signal_);
  while (g_count == 0) usleep(100);
  EXPECT_EQ(g_handled_by, tid);
  stop = true;
  other.join();
}

TEST_P(PendingSignalTest, SentToAThreadItStaysThere) {
  const ScopedSigaction handler(signal_, note);
  OtherThread blocks, open({signal_});
  send_to_thread(blocks.tid(), signal_);
  pthread_sigqueue(blocks.handle(), signal_, sigval{});
  usleep(20'000);
  EXPECT_EQ(g_count, 0);
  EXPECT_FALSE(is_pending(signal_)) << "it is another thread's";
}

TEST_P(PendingSignalTest, PendingForTheProcessItIsHandledByWhoUnblocksIt) {
  const ScopedSigaction handler(signal_, note);
  kill(getpid(), signal_);
  EXPECT_TRUE(is_pending(signal_));
  std::thread([&] {
    EXPECT_TRUE(is_pending(signal_)) << "for every thread";
    pthread_sigmask(SIG_UNBLOCK, &set_, nullptr);
    EXPECT_EQ(g_count, 1);
    EXPECT_EQ(g_handled_by, gettid());
  }).join();
  EXPECT_EQ(g_count, 1);
  EXPECT_FALSE(is_pending(signal_));
}

TEST_P(PendingSignalTest, IgnoringDiscardsIt) {
  for (const bool to_process : {false, true}) {
    to_process ? kill(getpid(), signal_) : raise(signal_);
    const auto old = signal(signal_, SIG_IGN);
    EXPECT_FALSE(is_pending(signal_)) << to_process;
    signal(signal_, old);
  }
}

TEST_P(PendingSignalTest, WaitsWithAnOpenMaskEndByIt) {
  const ScopedSigaction handler(signal_, note);
  sigset_t open;
  pthread_sigmask(SIG_BLOCK, nullptr, &open);
  sigdelset(&open, signal_);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event;
  for (int way = 0; way < 4; ++way) {
    g_count = 0;
    raise(signal_);
    errno = 0;
    int result = 0;
    switch (way) {
      case 0:
        result = sigsuspend(&open);
        break;
      case 1:
        result = ppoll(nullptr, 0, &kLong, &open);
        break;
      case 2:
        result = pselect(0, nullptr, nullptr, nullptr, &kLong, &open);
        break;
      default:
        result = epoll_pwait(epoll, &event, 1, 10'000, &open);
    }
    EXPECT_EQ(result, -1) << way;
    EXPECT_EQ(errno, EINTR) << way;
    EXPECT_EQ(g_count, 1) << way;
    EXPECT_TRUE(is_blocked(signal_)) << way;
  }
  close(epoll);
}

TEST_P(PendingSignalTest, SystemCallsThatWaitWithAnOpenMaskEndByIt) {
  const ScopedSigaction handler(signal_, note);
  sigset_t open;
  pthread_sigmask(SIG_BLOCK, nullptr, &open);
  sigdelset(&open, signal_);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event;
  const struct {
    const sigset_t* mask;
    std::size_t size;
  } select_mask = {&open, 8};
  for (int way = 0; way < 4; ++way) {
    g_count = 0;
    raise(signal_);
    errno = 0;
    timespec time = kLong;
    long result = 0;
    switch (way) {
      case 0:
        result = syscall(SYS_rt_sigsuspend, &open, 8);
        break;
      case 1:
        result = syscall(SYS_ppoll, nullptr, 0, &time, &open, 8);
        break;
      case 2:
        result = syscall(SYS_pselect6, 0, nullptr, nullptr, nullptr, &time, &select_mask);
        break;
      default:
        result = syscall(SYS_epoll_pwait, epoll, &event, 1, 10'000, &open, 8);
    }
    EXPECT_EQ(result, -1) << way;
    EXPECT_EQ(errno, EINTR) << way;
    EXPECT_EQ(g_count, 1) << way;
    EXPECT_TRUE(is_blocked(signal_)) << way;
  }
  close(epoll);
}

TEST_P(PendingSignalTest, AWaitIsNotDisturbedByWhatItsMaskBlocks) {
  const ScopedSigaction handler(signal_, note);
  const ScopedSignalMask open(SIG_UNBLOCK, {signal_});
  std::thread sender([main = pthread_self(), signal = signal_] {
    usleep(5000);
    pthread_kill(main, signal);
  });
  const timespec time{.tv_sec = 0, .tv_nsec = 50'000'000};
  EXPECT_EQ(ppoll(nullptr, 0, &time, &set_), 0);
  sender.join();  // on a slow machine it may be the later one
  EXPECT_EQ(g_count, 1) << "and comes after it";
}

// libc's helper thread is one more that does not take it: it blocks everything.
TEST_P(PendingSignalTest, AHelperThreadOfLibcDoesNotSwallowIt) {
  const int status = in_child([&] {
    static std::atomic<int> ticks{0};
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD;
    event.sigev_notify_function = [](sigval) { ++ticks; };
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) return 1;
    const itimerspec once{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = 1'000'000}};
    if (timer_settime(timer, 0, &once, nullptr) != 0) return 2;
    while (ticks == 0) usleep(1000);
    const ScopedSignalMask closed(SIG_BLOCK, {signal_});
    if (kill(getpid(), signal_) != 0) return 3;
    const timespec limit{.tv_sec = 5, .tv_nsec = 0};
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, signal_);
    return sigtimedwait(&wanted, nullptr, &limit) == signal_ ? 0 : 4;
  });
  EXPECT_EQ(status, 0);
}

TEST_P(PendingSignalTest, ForkedChildHasNoneOfIt) {
  raise(signal_);
  EXPECT_EQ(in_child([&] { return is_blocked(signal_) && !is_pending(signal_) ? 0 : 1; }), 0);
  int got = 0;
  sigwait(&set_, &got);
  kill(getpid(), signal_);
  EXPECT_EQ(in_child([&] { return is_blocked(signal_) && !is_pending(signal_) ? 0 : 1; }), 0);
}

// What the tests below start: the signal that the variable names is blocked, and pending or not. Without them
// nothing is.
TEST(StartedProgram, HasTheMaskAndWhatIsPending) {
  const char* signal = std::getenv("PENDING_TEST_SIGNAL");
  const char* pending = std::getenv("PENDING_TEST_PENDING");
  const int number = signal != nullptr ? std::atoi(signal) : SIGSEGV;
  EXPECT_EQ(is_blocked(number), signal != nullptr);
  EXPECT_EQ(is_pending(number), pending != nullptr && pending[0] == '1');
  EXPECT_FALSE(is_blocked(SIGHUP));
}

// The status of a child that starts this program for that test.
int start(int signal, bool pending, const std::function<void(const char* path, char* const*)>& how) {
  return in_child([&] {
    setenv("PENDING_TEST_SIGNAL", std::to_string(signal).c_str(), 1);
    setenv("PENDING_TEST_PENDING", pending ? "1" : "0", 1);
    const Fd quiet(open("/dev/null", O_WRONLY));
    dup2(quiet.get(), STDOUT_FILENO);
    char name[] = "pending_test", filter[] = "--gtest_filter=StartedProgram.*";
    char* const arguments[] = {name, filter, nullptr};
    how("/proc/self/exe", arguments);
    return 99;
  });
}

TEST_P(PendingSignalTest, ExecutedProgramInheritsItWithTheMask) {
  for (const bool to_process : {false, true}) {
    EXPECT_EQ(start(signal_, true,
                    [&](const char* path, char* const* arguments) {
                      to_process ? kill(getpid(), signal_) : raise(signal_);
                      execv(path, arguments);
                    }),
              0)
        << to_process;
  }
}

TEST_P(PendingSignalTest, FailedExecChangesNothing) {
  kill(getpid(), signal_);
  EXPECT_EQ(execl("/nowhere", "nowhere", nullptr), -1);
  EXPECT_TRUE(is_blocked(signal_));
  EXPECT_TRUE(is_pending(signal_));
}

void wait_and_exit(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 98);
}

TEST_P(PendingSignalTest, SpawnedProgramInheritsTheMaskAlone) {
  EXPECT_EQ(start(signal_, false,
                  [&](const char* path, char* const* arguments) {
                    raise(signal_);
                    pid_t child = 0;
                    if (posix_spawn(&child, path, nullptr, nullptr, arguments, environ) == 0)
                      wait_and_exit(child);
                  }),
            0);
}

TEST_P(PendingSignalTest, ProgramSpawnedWithAMaskGetsThat) {
  const ScopedSignalMask none(SIG_UNBLOCK, kAll);
  EXPECT_EQ(start(signal_, false,
                  [&](const char* path, char* const* arguments) {
                    posix_spawnattr_t attributes;
                    posix_spawnattr_init(&attributes);
                    posix_spawnattr_setsigmask(&attributes, &set_);
                    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
                    pid_t child = 0;
                    if (posix_spawn(&child, path, nullptr, &attributes, arguments, environ) == 0) {
                      wait_and_exit(child);
                    }
                  }),
            0);
}

TEST_P(PendingSignalTest, ProgramOfAVforkedChildInheritsTheMaskAlone) {
  EXPECT_EQ(start(signal_, false,
                  [&](const char* path, char* const* arguments) {
                    raise(signal_);
                    const pid_t child = vfork();
                    if (child == 0) {
                      execv(path, arguments);
                      _exit(97);
                    }
                    wait_and_exit(child);
                  }),
            0);
}

TEST_F(PendingTest, LowerNumbersOfTheSynchronousSignalsComeFirst) {
  for (const int signal : {SIGUSR1, SIGSYS, SIGSEGV, SIGFPE, SIGBUS, SIGTRAP, SIGILL}) raise(signal);
  const sigset_t all = set_of(kAll);
  for (const int expected : {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, SIGUSR1}) {
    EXPECT_EQ(sigtimedwait(&all, nullptr, &kNoTime), expected);
  }
}

TEST_F(PendingTest, WaitInterruptedByAHandlerIsEintr) {
  const ScopedSigaction handler(SIGUSR2, note);
  const ScopedSignalMask open(SIG_UNBLOCK, {SIGUSR2});
  std::atomic<bool> ended = false;
  std::thread sender([&, main = pthread_self()] {
    while (!ended) {
      usleep(5000);  // the first ones may come before the wait
      pthread_kill(main, SIGUSR2);
    }
  });
  const sigset_t set = set_of({SIGSEGV});
  EXPECT_EQ(sigtimedwait(&set, nullptr, &kLong), -1);
  EXPECT_EQ(errno, EINTR);
  ended = true;
  sender.join();
  // And nothing of the wait is left: the enclave's exceptions come through.
  EXPECT_EQ(ProbeEnclave().call(PROBE_OP_RAISE, {PROBE_RAISE_UD2}).run.exception_vector, kVectorUd);
}

}  // namespace
}  // namespace enclume::test
