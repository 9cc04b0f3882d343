// SPDX-License-Identifier: Apache-2.0
//
// Who pays for syscall user dispatch: a thread that enters enclaves, and no other. Its mode can be read by a
// tracer (PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, Linux 6.4).
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "conformance/raw_syscall.h"
#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr auto kEenter = static_cast<std::uint32_t>(Leaf::kEenter);
constexpr int kOff = 0;
constexpr int kOn = 1;
constexpr int kUnknown = 100;

struct DispatchConfig {
  std::uint64_t mode, selector, offset, length;
};

/// In a process of its own, which traces the thread for a moment.
int mode_seen_by_tracer(int tid) {
  constexpr long kGetConfig = 0x4211;
  DispatchConfig config{};
  int status;
  if (raw(SYS_ptrace, PTRACE_SEIZE, tid, 0, 0) != 0 || raw(SYS_ptrace, PTRACE_INTERRUPT, tid, 0, 0) != 0 ||
      raw(SYS_wait4, tid, &status, __WALL, nullptr) != tid ||
      raw(SYS_ptrace, kGetConfig, tid, sizeof(config), &config) != 0) {
    return kUnknown;
  }
  return static_cast<int>(config.mode);
}

/// The calling thread's.
int mode() {
  const int tid = static_cast<int>(raw(SYS_gettid));
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  const pid_t tracer = fork();
  if (tracer == 0) {
    _exit(mode_seen_by_tracer(tid));
  }
  int status = 0;
  while (waitpid(tracer, &status, 0) < 0) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : kUnknown;
}

/// The engine has to know a thread that blocks signals which are the engine's. Shells do, around each child.
void meet_the_engine() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void enter(const ProbeEnclave& probe) {
  sgx_enclave_run run{};
  ProbeArgs args{};
  run.tcs = probe.tcs();
  ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_NOP, address_of(&args), 0, kEenter, 0, 0, &run, vdso_function()),
            0);
}

class DispatchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (mode() == kUnknown) {
      GTEST_SKIP() << "this kernel does not tell, or nobody may trace";
    }
  }
};

TEST_F(DispatchTest, IsOffInAThreadThatOnlyMeetsTheEngine) {
  std::thread([] {
    meet_the_engine();
    EXPECT_EQ(mode(), kOff);
  }).join();
}

TEST_F(DispatchTest, IsOnInAThreadThatHasEnteredAndInNoOther) {
  const ProbeEnclave probe;
  std::thread([&probe] {
    EXPECT_EQ(mode(), kOff);
    enter(probe);
    EXPECT_EQ(mode(), kOn);
  }).join();
  std::thread([] {
    meet_the_engine();
    EXPECT_EQ(mode(), kOff);
  }).join();
}

TEST_F(DispatchTest, IsOnInAForkedChildThatEnters) {
  const ProbeEnclave probe;
  std::thread([&probe] {
    const pid_t child = fork();
    if (child == 0) {
      enter(probe);
      _exit(mode());
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), kOn);
  }).join();
}

TEST(DispatchSettingTest, IsNotToBeHadByTheProgram) {
  static volatile char selector = 0;
  constexpr int kSetDispatch = 59;
  EXPECT_EQ(prctl(kSetDispatch, kOn, 0L, 0L, &selector), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(syscall(SYS_prctl, kSetDispatch, kOn, 0L, 0L, &selector), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(raw(SYS_prctl, kSetDispatch, kOn, 0, 0, &selector), -EINVAL);
  const ProbeEnclave probe;
  EXPECT_TRUE(probe.call(PROBE_OP_SUM, {3, 4}).exited());
}

}  // namespace
}  // namespace enclume::test
