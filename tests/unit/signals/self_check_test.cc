// SPDX-License-Identifier: Apache-2.0
//
// What `enclume run --debug` checks: a record that is wrong stops the process, and says where and how.
#include "engine/self_check.h"

#include <gtest/gtest.h>

#include <cstring>

#include "arch/structs/tcs.h"

namespace enclume::engine {
namespace {

constexpr int kThread = 77;

class SelfCheckTest : public ::testing::Test {
 protected:
  SelfCheckTest() {
    std::memset(static_cast<void*>(&frame_), 0, sizeof(frame_));
    block_.tid = kThread;
    block_.lp.id = kThread;
    plan_.frame = &frame_;
  }

  void enter() {
    block_.lp.enclave_mode = true;
    block_.lp.tcs = {&entries_[0], tcs_, {1}};
    block_.lp.secs = {&entries_[1], secs_, {2}};
    block_.inside = 2;
    entries_[0].owner = kThread;
    reinterpret_cast<arch::Tcs*>(tcs_)->atomic_state() = arch::tcs_state::kActive;
    plan_.enclave = 1;
  }
  void check() { check_thread(block_, plan_, kThread); }

  SignalFrame frame_;
  ThreadBlock block_{};
  ExitPlan plan_{};
  arch::EpcmEntry entries_[2];
  alignas(4096) std::byte tcs_[4096]{};
  alignas(4096) std::byte secs_[4096]{};
};
using SelfCheckDeathTest = SelfCheckTest;

TEST_F(SelfCheckTest, HostAndEnclaveInOrderPass) {
  check();
  enter();
  check();
}

TEST_F(SelfCheckDeathTest, BlockOfAnotherThread) {
  block_.tid = kThread + 1;
  EXPECT_DEATH(check(), "self_check.cc:[0-9]+\\) thread=0x4d block of=0x4e");
}

TEST_F(SelfCheckDeathTest, ModeThatTheExitDoesNotHave) {
  enter();
  plan_.enclave = 0;
  EXPECT_DEATH(check(), "self_check.cc:[0-9]+\\) enclave mode=0x1");
}

TEST_F(SelfCheckDeathTest, TcsOfAnotherThread) {
  enter();
  entries_[0].owner = kThread + 1;
  EXPECT_DEATH(check(), "self_check.cc:[0-9]+\\) .*owner=0x4e");
}

TEST_F(SelfCheckDeathTest, TcsThatIsNotActive) {
  enter();
  reinterpret_cast<arch::Tcs*>(tcs_)->atomic_state() = arch::tcs_state::kInactive;
  EXPECT_DEATH(check(), "self_check.cc:[0-9]+\\) .*state=0x0");
}

TEST_F(SelfCheckDeathTest, OwnedSignalBlockedInTheKernelsMaskInAnEnclave) {
  enter();
  frame_.uc.sigmask = 1U << (SIGILL - 1);
  EXPECT_DEATH(check(), "self_check.cc:[0-9]+\\) mask=0x8");
}

}  // namespace
}  // namespace enclume::engine
