// SPDX-License-Identifier: Apache-2.0
//
// Cancellation points that the engine has a part in: the thread ends there, with the signal mask that it had,
// and what it waited for is left to others.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <ostream>
#include <string>
#include <thread>

namespace enclume::test {
namespace {

constexpr std::array kBlocked = {SIGILL, SIGSEGV, SIGUSR1};

sigset_t blocked_set() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kBlocked) {
    sigaddset(&set, signal);
  }
  return set;
}

struct CancelCase {
  const char* name;
  void (*wait)();
};

void PrintTo(const CancelCase& c, std::ostream* out) {
  *out << c.name;
}

struct Thread {
  const CancelCase* test = nullptr;
  std::atomic<int> tid{0};
  std::atomic<bool> returned{false};
  sigset_t at_cleanup{};
  bool cleaned = false;
};

void clean_up(void* raw) {
  auto& self = *static_cast<Thread*>(raw);
  pthread_sigmask(SIG_BLOCK, nullptr, &self.at_cleanup);
  self.cleaned = true;
}

void* body(void* raw) {
  auto& self = *static_cast<Thread*>(raw);
  const sigset_t set = blocked_set();
  pthread_sigmask(SIG_SETMASK, &set, nullptr);
  pthread_cleanup_push(&clean_up, raw);
  self.tid = static_cast<int>(syscall(SYS_gettid));
  self.test->wait();
  self.returned = true;
  pthread_cleanup_pop(0);
  return nullptr;
}

// The third field: S while the thread waits in the kernel.
bool sleeps(int tid) {
  std::ifstream stat("/proc/self/task/" + std::to_string(tid) + "/stat");
  std::string text;
  std::getline(stat, text);
  const std::size_t end = text.rfind(") ");
  return end != std::string::npos && text[end + 2] == 'S';
}

// A thread can sleep for a moment on its way; then it is in the wait, or will be soon and is cancelled there.
void wait_until_it_sleeps(const Thread& thread) {
  using namespace std::chrono_literals;
  for (int in_a_row = 0; in_a_row < 20;) {
    std::this_thread::sleep_for(1ms);
    in_a_row = thread.tid != 0 && sleeps(thread.tid) ? in_a_row + 1 : 0;
  }
}

class CancelTest : public testing::TestWithParam<CancelCase> {
 protected:
  // Cancelled in its wait.
  void run_and_cancel(Thread& thread) {
    thread.test = &GetParam();
    pthread_t handle;
    ASSERT_EQ(pthread_create(&handle, nullptr, &body, &thread), 0);
    wait_until_it_sleeps(thread);
    EXPECT_FALSE(thread.returned);
    EXPECT_EQ(pthread_cancel(handle), 0);
    void* result = nullptr;
    ASSERT_EQ(pthread_join(handle, &result), 0);
    EXPECT_EQ(result, PTHREAD_CANCELED);
    EXPECT_FALSE(thread.returned);
    EXPECT_TRUE(thread.cleaned);
  }
};

TEST_P(CancelTest, EndsTheThreadWithItsMask) {
  Thread thread;
  run_and_cancel(thread);
  for (const int signal : kBlocked) {
    EXPECT_EQ(sigismember(&thread.at_cleanup, signal), 1) << signal;
  }
  for (const int signal : {SIGTRAP, SIGBUS, SIGFPE, SIGSYS, SIGUSR2}) {
    EXPECT_EQ(sigismember(&thread.at_cleanup, signal), 0) << signal;
  }
}

TEST_P(CancelTest, LeavesItsSignalsToOthers) {
  Thread thread;
  run_and_cancel(thread);
  const sigset_t set = blocked_set();
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &set, &before);
  for (const int signal : kBlocked) {
    kill(getpid(), signal);
    int found = 0;
    EXPECT_EQ(sigwait(&set, &found), 0);
    EXPECT_EQ(found, signal);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void wait_by_sigwait() {
  const sigset_t set = blocked_set();
  int found;
  sigwait(&set, &found);
}
void wait_by_sigwaitinfo() {
  const sigset_t set = blocked_set();
  sigwaitinfo(&set, nullptr);
}
void wait_by_sigtimedwait() {
  const sigset_t set = blocked_set();
  const timespec long_time{1000, 0};
  sigtimedwait(&set, nullptr, &long_time);
}
void wait_by_system() {
  if (std::system("exec sleep 1000") != 0) {
    std::perror("system");
  }
}
void wait_by_system_with_a_cleaned_environment() {
  clearenv();
  if (std::system("exec /bin/sleep 1000") != 0) {
    std::perror("system");
  }
}

INSTANTIATE_TEST_SUITE_P(
    , CancelTest,
    testing::Values(CancelCase{"Sigwait", &wait_by_sigwait}, CancelCase{"Sigwaitinfo", &wait_by_sigwaitinfo},
                    CancelCase{"Sigtimedwait", &wait_by_sigtimedwait}, CancelCase{"System", &wait_by_system},
                    CancelCase{"SystemWithACleanedEnvironment", &wait_by_system_with_a_cleaned_environment}),
    [](const auto& test) { return std::string(test.param.name); });

// As libc does it: the command is killed and waited for.
TEST(CancelledSystem, LeavesNoChildAndTheDispositionsThatTheProgramHad) {
  struct sigaction mine {};
  mine.sa_handler = [](int) {};
  sigaction(SIGINT, &mine, nullptr);
  const CancelCase test{"System", &wait_by_system};
  Thread thread;
  thread.test = &test;
  pthread_t handle;
  ASSERT_EQ(pthread_create(&handle, nullptr, &body, &thread), 0);
  wait_until_it_sleeps(thread);
  pthread_cancel(handle);
  ASSERT_EQ(pthread_join(handle, nullptr), 0);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
  struct sigaction now {};
  sigaction(SIGINT, nullptr, &now);
  EXPECT_EQ(now.sa_handler, mine.sa_handler);
}

}  // namespace
}  // namespace enclume::test
