// SPDX-License-Identifier: Apache-2.0
//
// Threads and children by clone, clone3, fork and vfork of the program's own. Such a thread has no libc: it
// shares its parent's TLS block, or has none, and its stack may be too small for a signal.
#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "conformance/raw_clone.h"
#include "conformance/raw_syscall.h"
#include "conformance/support.h"

namespace enclume::test {
namespace {

using Function = RawFunction;
constexpr std::uint64_t kThread = kRawThread;

void wait_until_gone(std::atomic<std::uint32_t>& tid) {
  while (const std::uint32_t now = tid) raw(__NR_futex, &tid, FUTEX_WAIT, now, nullptr);
}

// A stack with an inaccessible page below it.
class Stack {
 public:
  explicit Stack(std::size_t size = 65536) : size_(size + 4096) {
    bytes_ =
        static_cast<char*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(bytes_, 4096, PROT_NONE);
  }
  ~Stack() { munmap(bytes_, size_); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  void* top() const { return bytes_ + size_; }
  void* at(std::size_t room) const { return bytes_ + 4096 + room; }
  char* usable() const { return bytes_ + 4096; }

 private:
  std::size_t size_;
  char* bytes_;
};

// What a thread does to show that the machine is there: not a word of libc in it.
[[gnu::no_stack_protector]] long open_device(void* result) {
  const long fd = raw(__NR_open, "/dev/sgx_enclave", O_RDWR, 0);
  if (fd >= 0) raw(__NR_close, fd);
  *static_cast<volatile long*>(result) = fd;
  return 0;
}

TEST(RawThreadTest, SharesItsParentsTlsBlock) {
  Stack stack;
  std::atomic<std::uint32_t> tid = 1;
  long fd = -1;
  const long made =
      enclume_test_clone(kThread | CLONE_CHILD_CLEARTID, stack.top(), &open_device, &fd, &tid, nullptr);
  ASSERT_GT(made, 0);
  wait_until_gone(tid);
  EXPECT_GE(fd, 0);
}

TEST(RawThreadTest, HasATlsBlockOfItsOwn) {
  static std::uint64_t block[64];
  block[0] = reinterpret_cast<std::uint64_t>(block);
  Stack stack;
  std::atomic<std::uint32_t> tid = 1;
  std::uint64_t seen = 0;
  const auto read_fs = [](void* out) -> long {
    raw(__NR_getppid);
    std::uint64_t value;
    asm volatile("mov %%fs:0, %0" : "=r"(value));
    *static_cast<volatile std::uint64_t*>(out) = value;
    return 0;
  };
  ASSERT_GT(enclume_test_clone(kThread | CLONE_CHILD_CLEARTID | CLONE_SETTLS, stack.top(), read_fs, &seen,
                               &tid, block),
            0);
  wait_until_gone(tid);
  EXPECT_EQ(seen, block[0]);
}

// No signal frame fits into this. What lies below the thread's own few words must not change either.
TEST(RawThreadTest, RunsOnAStackTooSmallForASignal) {
  Stack stack(4096);
  std::memset(stack.usable(), 0x5a, 4096);
  std::atomic<std::uint32_t> tid = 1;
  long fd = -1;
  ASSERT_GT(
      enclume_test_clone(kThread | CLONE_CHILD_CLEARTID, stack.at(512), &open_device, &fd, &tid, nullptr), 0);
  wait_until_gone(tid);
  EXPECT_GE(fd, 0);
}

struct Crowd {
  std::atomic<std::uint32_t> ready = 0;
  std::atomic<std::uint32_t> go = 0;
  std::atomic<std::uint32_t> good = 0;
};

[[gnu::no_stack_protector]] long member_of_crowd(void* argument) {
  auto& crowd = *static_cast<Crowd*>(argument);
  long fd = -1;
  crowd.ready.fetch_add(1);
  while (crowd.go == 0) raw(__NR_futex, &crowd.go, FUTEX_WAIT_PRIVATE, 0, nullptr);
  open_device(&fd);
  if (fd >= 0) crowd.good.fetch_add(1);
  return 0;
}

TEST(RawThreadTest, MoreThanAThousandAtOnce) {
  constexpr std::size_t kThreads = 1100;
  constexpr std::size_t kStack = 8192;
  auto* stacks = static_cast<char*>(
      mmap(nullptr, kThreads * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  Crowd crowd;
  std::vector<std::atomic<std::uint32_t>> tids(kThreads);
  std::size_t made = 0;
  for (; made < kThreads; ++made) {
    tids[made] = 1;
    const long tid = enclume_test_clone(kThread | CLONE_CHILD_CLEARTID, stacks + (made + 1) * kStack,
                                        &member_of_crowd, &crowd, &tids[made], nullptr);
    if (tid < 0) {
      tids[made] = 0;
      EXPECT_GT(tid, 0);
      break;
    }
  }
  while (crowd.ready < made) std::this_thread::yield();
  crowd.go = 1;
  raw(__NR_futex, &crowd.go, FUTEX_WAKE_PRIVATE, 1 << 30);
  for (std::size_t i = 0; i < made; ++i) wait_until_gone(tids[i]);
  EXPECT_EQ(crowd.good, made);
  EXPECT_EQ(made, kThreads);
  munmap(stacks, kThreads * kStack);
}

// Pages of this process that are in memory.
std::size_t resident_pages() {
  std::size_t whole = 0;
  std::size_t resident = 0;
  std::ifstream("/proc/self/statm") >> whole >> resident;
  return resident;
}

TEST(RawThreadTest, CostsNoMoreThan64KibOfMemoryEach) {
  constexpr std::size_t kThreads = 300;
  constexpr std::size_t kStack = 8192;
  auto* stacks = static_cast<char*>(
      mmap(nullptr, kThreads * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  Crowd crowd;
  std::vector<std::atomic<std::uint32_t>> tids(kThreads);
  const std::size_t before = resident_pages();
  std::size_t made = 0;
  for (; made < kThreads; ++made) {
    tids[made] = 1;
    if (enclume_test_clone(kThread | CLONE_CHILD_CLEARTID, stacks + (made + 1) * kStack, &member_of_crowd,
                           &crowd, &tids[made], nullptr) < 0) {
      tids[made] = 0;
      break;
    }
  }
  while (crowd.ready < made) std::this_thread::yield();
  const std::size_t after = resident_pages();
  crowd.go = 1;
  raw(__NR_futex, &crowd.go, FUTEX_WAKE_PRIVATE, 1 << 30);
  for (std::size_t i = 0; i < made; ++i) wait_until_gone(tids[i]);
  munmap(stacks, kThreads * kStack);
  ASSERT_EQ(made, kThreads);
  EXPECT_LE((after - before) * 4096, kThreads * (kStack + 65536));
}

TEST(RawThreadTest, ManyOneAfterTheOther) {
  Stack stack;
  for (int i = 0; i < 3000; ++i) {
    std::atomic<std::uint32_t> tid = 1;
    long fd = -1;
    const long made =
        enclume_test_clone(kThread | CLONE_CHILD_CLEARTID, stack.top(), &open_device, &fd, &tid, nullptr);
    ASSERT_GT(made, 0) << i;
    wait_until_gone(tid);
    ASSERT_GE(fd, 0) << i;
  }
}

[[gnu::no_stack_protector]] long read_mask(void* out) {
  raw(__NR_rt_sigprocmask, SIG_BLOCK, nullptr, out, 8);
  return 0;
}

TEST(RawThreadTest, InheritsItsParentsMaskAndHasNoAlternateStack) {
  const std::uint64_t wanted = 1ULL << (SIGUSR1 - 1) | 1ULL << (SIGFPE - 1);
  std::uint64_t before = 0, seen = 0;
  static char area[16384];
  const stack_t alternate = {.ss_sp = area, .ss_flags = 0, .ss_size = sizeof area};
  ASSERT_EQ(raw(__NR_sigaltstack, &alternate, nullptr), 0);
  ASSERT_EQ(raw(__NR_rt_sigprocmask, SIG_SETMASK, &wanted, &before, 8), 0);
  Stack stack;
  std::atomic<std::uint32_t> tid = 1;
  ASSERT_GT(enclume_test_clone(kThread | CLONE_CHILD_CLEARTID, stack.top(), &read_mask, &seen, &tid, nullptr),
            0);
  wait_until_gone(tid);
  EXPECT_EQ(seen, wanted);
  std::uint64_t here = 0;
  read_mask(&here);
  EXPECT_EQ(here, wanted);
  stack_t found{};
  const auto read_stack = [](void* out) -> long {
    raw(__NR_sigaltstack, nullptr, out);
    return 0;
  };
  tid = 1;
  ASSERT_GT(
      enclume_test_clone(kThread | CLONE_CHILD_CLEARTID, stack.top(), read_stack, &found, &tid, nullptr), 0);
  wait_until_gone(tid);
  EXPECT_EQ(found.ss_flags, SS_DISABLE);
  ASSERT_EQ(raw(__NR_rt_sigprocmask, SIG_SETMASK, &before, nullptr, 8), 0);
  const stack_t none = {.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
  ASSERT_EQ(raw(__NR_sigaltstack, &none, nullptr), 0);
}

// Signals during clone reach their handler once, in the program's own context.
std::atomic<int> handled;
void note_place(int, siginfo_t*, void*) {
  handled.fetch_add(1);
}

TEST(RawThreadTest, SignalsDuringCloneWaitForItsEnd) {
  handled = 0;
  const ScopedSigaction action(SIGUSR1, &note_place, SA_RESTART);
  const auto tid_of_main = ::gettid();
  std::atomic<bool> stop = false;
  std::atomic<int> sent = 0;
  std::thread sender([&] {
    while (!stop) {
      if (sent - handled < 1 && tgkill(::getpid(), tid_of_main, SIGUSR1) == 0) ++sent;
    }
  });
  Stack stack;
  // The sender may hardly run for a while.
  for (int i = 0; i < 500 || (handled <= 50 && i < 50000); ++i) {
    std::atomic<std::uint32_t> tid = 1;
    long fd = -1;
    EXPECT_GT(
        enclume_test_clone(kThread | CLONE_CHILD_CLEARTID, stack.top(), &open_device, &fd, &tid, nullptr), 0);
    wait_until_gone(tid);
    EXPECT_GE(fd, 0);
  }
  stop = true;
  sender.join();
  while (handled < sent) std::this_thread::yield();
  EXPECT_EQ(handled, sent);
  EXPECT_GT(handled, 50);
}

// -- Processes

int status_of(long child) {
  int status = -1;
  EXPECT_EQ(waitpid(static_cast<pid_t>(child), &status, 0), child);
  return status;
}

long exit_with_device(void*) {
  long fd = -1;
  open_device(&fd);
  return fd >= 0 ? 7 : 8;
}

TEST(RawProcessTest, ForkedChildHasTheMachine) {
  const long child = raw(__NR_fork);
  if (child == 0) raw(__NR_exit_group, exit_with_device(nullptr));
  ASSERT_GT(child, 0);
  const int status = status_of(child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

TEST(RawProcessTest, ForkedChildForksAgain) {
  const long child = raw(__NR_fork);
  if (child == 0) {
    const long grandchild = raw(__NR_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
    if (grandchild == 0) raw(__NR_exit_group, exit_with_device(nullptr));
    int status = 0;
    raw(__NR_wait4, grandchild, &status, 0, nullptr);
    raw(__NR_exit_group, WIFEXITED(status) ? WEXITSTATUS(status) : 1);
  }
  ASSERT_GT(child, 0);
  const int status = status_of(child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

TEST(RawProcessTest, Clone3MakesAProcessToo) {
  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  const std::uint64_t before = arguments.flags;
  const long child = enclume_test_clone3(&arguments, sizeof arguments, &exit_with_device, nullptr);
  ASSERT_GT(child, 0);
  EXPECT_EQ(arguments.flags, before);
  const int status = status_of(child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

TEST(RawProcessTest, Clone3ThatClearsHandlersStillHasTheMachine) {
  constexpr std::uint64_t kClearSighand = 0x100000000;
  const ScopedSigaction action(SIGUSR1, &note_place);
  clone_args arguments{};
  arguments.flags = kClearSighand;
  arguments.exit_signal = SIGCHLD;
  const auto body = [](void*) -> long {
    struct {
      std::uint64_t handler, flags, restorer, mask;
    } found{};
    raw(__NR_rt_sigaction, SIGUSR1, nullptr, &found, 8);
    return found.handler == 0 ? exit_with_device(nullptr) : 9;
  };
  const long child = enclume_test_clone3(&arguments, sizeof arguments, body, nullptr);
  ASSERT_GT(child, 0);  // the flag is older (Linux 5.5) than syscall user dispatch
  const int status = status_of(child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

TEST(RawProcessTest, CloneThatMustFailFails) {
  // A thread without shared handlers.
  EXPECT_EQ(enclume_test_clone(CLONE_THREAD, nullptr, &exit_with_device, nullptr, nullptr, nullptr), -EINVAL);
  Stack stack;
  EXPECT_EQ(
      enclume_test_clone(CLONE_THREAD | CLONE_VM, stack.top(), &exit_with_device, nullptr, nullptr, nullptr),
      -EINVAL);
  // And leaves the thread as it was.
  long fd = -1;
  open_device(&fd);
  EXPECT_GE(fd, 0);
}

TEST(RawProcessTest, VforkedChildSharesMemoryAndItsParentWaits) {
  static volatile long fd = -1;
  const long child = enclume_test_vfork(
      [](void*) -> long {
        long found = -1;
        open_device(&found);
        fd = found;
        return 5;
      },
      nullptr);
  ASSERT_GT(child, 0);
  EXPECT_GE(fd, 0);
  const int status = status_of(child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 5) << status;
}

// What a vforked child does to its handlers is its own matter, although the memory is its parent's.
TEST(RawProcessTest, HandlersThatAVforkedChildResetsStayItsParents) {
  handled = 0;
  const ScopedSigaction action(SIGUSR1, &note_place);
  const long child = enclume_test_vfork(
      [](void*) -> long {
        struct {
          std::uint64_t handler, flags, restorer, mask;
        } none{}, found{};
        for (int signal = 1; signal <= 64; ++signal) raw(__NR_rt_sigaction, signal, &none, nullptr, 8);
        raw(__NR_rt_sigaction, SIGUSR1, nullptr, &found, 8);
        return found.handler == 0 ? exit_with_device(nullptr) : 9;
      },
      nullptr);
  const int status = status_of(child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
  ASSERT_EQ(raise(SIGUSR1), 0);
  EXPECT_EQ(handled, 1);
  ASSERT_EQ(raw(__NR_tgkill, ::getpid(), ::gettid(), SIGUSR1), 0);
  EXPECT_EQ(handled, 2);
}

std::atomic<int> handled_in_child;
void note_in_child(int, siginfo_t*, void*) {
  handled_in_child.fetch_add(1);
}
[[gnu::naked]] void return_from_child_handler() {
  asm("movl $15, %eax\n\tsyscall");
}

TEST(RawProcessTest, HandlersThatAVforkedChildInstallsAreItsOwn) {
  handled = 0;
  handled_in_child = 0;
  const ScopedSigaction fault(SIGFPE, &note_place), user(SIGUSR1, &note_place);
  const long child = enclume_test_vfork(
      [](void*) -> long {
        constexpr std::uint64_t kSaRestorer = 0x04000000;
        const struct {
          void (*handler)(int, siginfo_t*, void*);
          std::uint64_t flags;
          void (*restorer)();
          std::uint64_t mask;
        } action{&note_in_child, SA_SIGINFO | kSaRestorer, &return_from_child_handler, 0};
        auto found = action;
        for (const int signal : {SIGFPE, SIGUSR1}) {
          if (raw(__NR_rt_sigaction, signal, &action, nullptr, 8) != 0 ||
              raw(__NR_rt_sigaction, signal, nullptr, &found, 8) != 0 || found.handler != &note_in_child) {
            return 8;
          }
          raw(__NR_tgkill, raw(__NR_getpid), raw(__NR_gettid), signal);
        }
        return handled_in_child == 2 ? 7 : 9;
      },
      nullptr);
  const int status = status_of(child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
  for (const int signal : {SIGFPE, SIGUSR1}) ASSERT_EQ(raw(__NR_tgkill, ::getpid(), ::gettid(), signal), 0);
  EXPECT_EQ(handled, 2);
  EXPECT_EQ(handled_in_child, 2);
}

// What the tests below execute; they say by their status what they have found.
TEST(RawProcessTest, DISABLED_FindsTheMachine) {
  raw(__NR_exit_group, exit_with_device(nullptr));
}

constexpr std::uint64_t kMaskForExec = 1ULL << (SIGUSR1 - 1) | 1ULL << (SIGFPE - 1);

TEST(RawProcessTest, DISABLED_FindsItsMask) {
  std::uint64_t mask = 0;
  read_mask(&mask);
  raw(__NR_exit_group, mask == kMaskForExec ? 7 : 8);
}

long execute(const char* test, void* environment) {
  static char name[] = "self";
  static char disabled[] = "--gtest_also_run_disabled_tests";
  const char* const arguments[] = {name, test, disabled, nullptr};
  raw(__NR_execve, "/proc/self/exe", arguments, environment);
  return 3;
}

long find_the_machine(void* environment) {
  return execute("--gtest_filter=RawProcessTest.DISABLED_FindsTheMachine", environment);
}

TEST(RawProcessTest, ExecutedProgramHasTheMachineWithAnyEnvironment) {
  char preload[] = "LD_PRELOAD=";
  char other[] = "OTHER=x";
  char* const cleaned[] = {other, nullptr};
  char* const emptied[] = {preload, nullptr};
  for (void* environment :
       {static_cast<void*>(environ), const_cast<void*>(static_cast<const void*>(cleaned)),
        const_cast<void*>(static_cast<const void*>(emptied)), static_cast<void*>(nullptr)}) {
    const long child = enclume_test_vfork(&find_the_machine, environment);
    ASSERT_GT(child, 0);
    const int status = status_of(child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
  }
}

TEST(RawProcessTest, ExecutedProgramInheritsTheMask) {
  const long child = raw(__NR_fork);
  if (child == 0) {
    raw(__NR_rt_sigprocmask, SIG_SETMASK, &kMaskForExec, nullptr, 8);
    raw(__NR_exit_group, execute("--gtest_filter=RawProcessTest.DISABLED_FindsItsMask", environ));
  }
  const int status = status_of(child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

}  // namespace
}  // namespace enclume::test
