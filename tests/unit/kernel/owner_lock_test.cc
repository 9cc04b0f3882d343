// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <new>
#include <thread>

#include "base/lock.h"

namespace enclume {
namespace {

// A lock in memory that a child shares.
class OwnerLockTest : public ::testing::Test {
 protected:
  OwnerLockTest()
      : memory_(mmap(nullptr, sizeof(OwnerLock), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
        lock_(*new (memory_) OwnerLock) {}
  ~OwnerLockTest() override { munmap(memory_, sizeof(OwnerLock)); }
  void* const memory_;
  OwnerLock& lock_;
};

TEST_F(OwnerLockTest, OwnerThatHasEndedIsReplacedThoughItsParentHasNotAsked) {
  const pid_t child = fork();
  if (child == 0) _exit(lock_.lock(getpid()) ? 0 : 1);
  siginfo_t ended{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);
  ASSERT_EQ(ended.si_status, 0);
  ASSERT_TRUE(lock_.held_by(child));
  EXPECT_TRUE(thread_is_gone(child));
  EXPECT_FALSE(lock_.lock(gettid())) << "what it guards may be half changed";
  EXPECT_TRUE(lock_.held_by(gettid()));
  lock_.unlock();
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(thread_is_gone(child));
}

// A child of vfork that the engine took for its parent.
TEST_F(OwnerLockTest, OwnerThatWentByOurIdIsReplaced) {
  const pid_t child = fork();
  if (child == 0) _exit(lock_.lock(getppid()) ? 0 : 1);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_FALSE(lock_.lock(getpid())) << "what it guards may be half changed";
  EXPECT_TRUE(lock_.held_by(getpid()));
  lock_.unlock();
  EXPECT_TRUE(lock_.lock(getpid()));
  lock_.unlock();
}

TEST_F(OwnerLockTest, OwnerThatLivesIsWaitedFor) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const bool locked = lock_.lock(getpid());
    usleep(200'000);  // longer than it takes until somebody asks
    lock_.unlock();
    char byte;
    close(ends[1]);
    _exit(locked && read(ends[0], &byte, 1) == 0 ? 0 : 1);
  }
  close(ends[0]);
  while (!lock_.held_by(child)) std::this_thread::yield();
  EXPECT_TRUE(lock_.lock(gettid()));
  EXPECT_FALSE(thread_is_gone(child));
  EXPECT_FALSE(thread_is_gone(gettid()));
  lock_.unlock();
  close(ends[1]);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace enclume
