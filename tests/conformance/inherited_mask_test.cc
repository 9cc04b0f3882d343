// SPDX-License-Identifier: Apache-2.0
//
// The signal mask that a thread or a program begins with: that of whoever made it, or the one that was asked
// for. The signals that enclaves need are no exception, and enclaves work with any of them blocked.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr std::array kSynchronous = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};

sigset_t set_of(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  return set;
}

// The first word of the calling thread's mask.
std::uint64_t current_mask() {
  sigset_t set;
  std::uint64_t word = 0;
  pthread_sigmask(SIG_BLOCK, nullptr, &set);
  std::memcpy(&word, &set, sizeof word);
  return word;
}

constexpr std::uint64_t bit(int signal) {
  return std::uint64_t{1} << (signal - 1);
}

// Enters and leaves, with an exception and one that the kernel resolves.
bool enclaves_work() {
  const ProbeEnclave probe;
  const bool sum = probe.call(PROBE_OP_SUM, {40, 2}).args.out[0] == 42;
  return sum && probe.call(PROBE_OP_READ, {0x10}).run.exception_vector == kVectorPf;
}

// Started by the tests below, with the mask that the variable has. By itself: nothing is blocked.
TEST(StartedProgram, HasTheMaskAndUsesEnclaves) {
  const char* text = std::getenv("INHERITED_MASK");
  EXPECT_EQ(current_mask(), text != nullptr ? std::strtoull(text, nullptr, 16) : 0);
  EXPECT_TRUE(enclaves_work());
}

constexpr const char* kSelf = "/proc/self/exe";
constexpr const char* kFilter = "--gtest_filter=StartedProgram.*";

int status_of(pid_t child) {
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

// Ways to start that program; each gives its status. (A shell that forks clears the mask.)
struct Way {
  const char* name;
  int (*start)(const std::string& self);
};

int spawn_by(decltype(&posix_spawn) spawn, const posix_spawnattr_t* attributes = nullptr) {
  const char* const arguments[] = {"inherited_mask_test", kFilter, nullptr};
  pid_t child = 0;
  const int error = spawn(&child, kSelf, nullptr, attributes, const_cast<char* const*>(arguments), environ);
  return error == 0 ? status_of(child) : error;
}

constexpr Way kWays[] = {
    {"exec",
     [](const std::string&) {
       execl(kSelf, "inherited_mask_test", kFilter, nullptr);
       return 99;
     }},
    {"vfork",
     [](const std::string&) {
       const pid_t child = vfork();
       if (child == 0) {
         execl(kSelf, "inherited_mask_test", kFilter, nullptr);
         _exit(99);
       }
       return status_of(child);
     }},
    {"spawn", [](const std::string&) { return spawn_by(&posix_spawn); }},
    {"spawnp", [](const std::string&) { return spawn_by(&posix_spawnp); }},
    {"system", [](const std::string& self) { return system(("exec " + self + " " + kFilter).c_str()); }},
    {"popen",
     [](const std::string& self) {
       FILE* pipe = popen(("exec " + self + " " + kFilter).c_str(), "r");
       while (fgetc(pipe) != EOF) {
       }
       return pclose(pipe);
     }},
};

std::string this_program() {
  char path[4096] = {};
  return readlink(kSelf, path, sizeof path - 1) > 0 ? path : "";
}

// The status of a child that has `mask` and starts that program.
int start_with(std::uint64_t mask, int (*start)(const std::string& self) = kWays[0].start) {
  const std::string self = this_program();
  return in_child([&] {
    char text[32];
    std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(mask));
    setenv("INHERITED_MASK", text, 1);
    const int quiet = open("/dev/null", O_WRONLY);
    dup2(quiet, STDOUT_FILENO);
    sigset_t set;
    sigemptyset(&set);
    std::memcpy(&set, &mask, sizeof mask);
    pthread_sigmask(SIG_SETMASK, &set, nullptr);
    const int status = start(self);
    return status == 0 && current_mask() == mask && enclaves_work() ? 0 : 1;
  });
}

class InheritedMaskTest : public ::testing::TestWithParam<int> {
 protected:
  const int signal_ = GetParam();
};
INSTANTIATE_TEST_SUITE_P(Signals, InheritedMaskTest, ::testing::ValuesIn(kSynchronous),
                         [](const auto& tested) { return std::string(sigabbrev_np(tested.param)); });

TEST_P(InheritedMaskTest, ProgramStartedWithItBlockedUsesEnclaves) {
  for (const Way& way : kWays) {
    EXPECT_EQ(start_with(bit(signal_) | bit(SIGUSR1), way.start), 0) << way.name;
  }
}

TEST_P(InheritedMaskTest, SpawnedProgramHasTheMaskOfItsAttributes) {
  static int signal;
  signal = signal_;
  EXPECT_EQ(in_child([] {
              char text[32];
              std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(bit(signal)));
              setenv("INHERITED_MASK", text, 1);
              dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
              const ScopedSignalMask other(SIG_BLOCK, {SIGUSR1, signal == SIGILL ? SIGSEGV : SIGILL});
              posix_spawnattr_t attributes;
              posix_spawnattr_init(&attributes);
              const sigset_t set = set_of(signal);
              posix_spawnattr_setsigmask(&attributes, &set);
              posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
              return spawn_by(&posix_spawn, &attributes);
            }),
            0);
}

TEST_P(InheritedMaskTest, ThreadHasItsCreatorsMask) {
  const ScopedSignalMask mask(SIG_BLOCK, {signal_, SIGUSR1});
  std::uint64_t seen = 0;
  bool works = false;
  std::thread([&] {
    seen = current_mask();
    works = enclaves_work();
  }).join();
  EXPECT_EQ(seen, bit(signal_) | bit(SIGUSR1));
  EXPECT_TRUE(works);
  EXPECT_TRUE(enclaves_work()) << "the creator, afterwards";
}

struct Seen {
  std::uint64_t mask;
  bool works;
};

TEST_P(InheritedMaskTest, ThreadHasTheMaskOfItsAttributes) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  const sigset_t set = set_of(signal_);
  ASSERT_EQ(pthread_attr_setsigmask_np(&attributes, &set), 0);
  Seen seen{};
  pthread_t thread;
  ASSERT_EQ(pthread_create(
                &thread, &attributes,
                [](void* raw) -> void* {
                  *static_cast<Seen*>(raw) = {current_mask(), enclaves_work()};
                  return raw;
                },
                &seen),
            0);
  void* result = nullptr;
  pthread_join(thread, &result);
  EXPECT_EQ(result, &seen);
  EXPECT_EQ(seen.mask, bit(signal_));
  EXPECT_TRUE(seen.works);
  EXPECT_EQ(current_mask(), 0u);
  pthread_attr_destroy(&attributes);
}

TEST_P(InheritedMaskTest, ThreadWithAnEmptyMaskInItsAttributesHasThat) {
  const ScopedSignalMask mask(SIG_BLOCK, {signal_});
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  ASSERT_EQ(pthread_attr_setsigmask_np(&attributes, &none), 0);
  std::uint64_t seen = ~std::uint64_t{0};
  pthread_t thread;
  ASSERT_EQ(pthread_create(
                &thread, &attributes,
                [](void* raw) -> void* {
                  *static_cast<std::uint64_t*>(raw) = current_mask();
                  return nullptr;
                },
                &seen),
            0);
  pthread_join(thread, nullptr);
  EXPECT_EQ(seen, 0u);
  pthread_attr_destroy(&attributes);
}

TEST_P(InheritedMaskTest, C11ThreadHasItsCreatorsMask) {
  const ScopedSignalMask mask(SIG_BLOCK, {signal_});
  Seen seen{};
  thrd_t thread;
  ASSERT_EQ(thrd_create(
                &thread,
                [](void* raw) {
                  *static_cast<Seen*>(raw) = {current_mask(), enclaves_work()};
                  return 42;
                },
                &seen),
            thrd_success);
  int result = 0;
  thrd_join(thread, &result);
  EXPECT_EQ(result, 42);
  EXPECT_EQ(seen.mask, bit(signal_));
  EXPECT_TRUE(seen.works);
}

TEST_P(InheritedMaskTest, ClonedProcessHasItsCreatorsMask) {
  const ScopedSignalMask mask(SIG_BLOCK, {signal_});
  constexpr std::size_t kStack = 256 * 1024;
  void* stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const pid_t child = clone(
      [](void* raw) {
        return current_mask() == bit(*static_cast<const int*>(raw)) && enclaves_work() ? 0 : 1;
      },
      static_cast<std::uint8_t*>(stack) + kStack, SIGCHLD, const_cast<int*>(&signal_));
  ASSERT_GT(child, 0);
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  munmap(stack, kStack);
}

TEST_P(InheritedMaskTest, ForkedChildHasItsParentsMask) {
  const ScopedSignalMask mask(SIG_BLOCK, {signal_});
  EXPECT_EQ(in_child([&] { return current_mask() == bit(signal_) && enclaves_work() ? 0 : 1; }), 0);
  // A thread that has had nothing to do with enclaves forks, too.
  int status = -1;
  std::thread([&] {
    status = in_child([&] { return current_mask() == bit(signal_) && enclaves_work() ? 0 : 1; });
  }).join();
  EXPECT_EQ(status, 0);
}

TEST(InheritedMask, ProgramMayBeStartedWithAllBlocked) {
  EXPECT_EQ(start_with(~std::uint64_t{0} & ~(bit(SIGKILL) | bit(SIGSTOP) | bit(32) | bit(33))), 0);
}

TEST(InheritedMask, AnIdThatComesBackBringsNothingOfTheDeadThread) {
  const ProbeEnclave probe;
  for (int attempt = 0; attempt < 200; ++attempt) {
    std::atomic<pid_t> first = 0;
    std::thread([&] {
      first = gettid();
      static std::uint8_t stack[65536];
      const stack_t alternate{.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof stack};
      sigaltstack(&alternate, nullptr);
      sigset_t set;
      sigfillset(&set);
      pthread_sigmask(SIG_SETMASK, &set, nullptr);
      EXPECT_EQ(probe.call(PROBE_OP_SUM, {1, 2}).args.out[0], 3u);
      raise(SIGSEGV);
    }).join();
    std::ofstream("/proc/sys/kernel/ns_last_pid") << first - 1;
    bool same = false;
    std::thread([&] {
      same = gettid() == first;
      if (!same) return;
      sigset_t pending;
      sigpending(&pending);
      EXPECT_EQ(current_mask(), 0u);
      for (const int signal : {SIGSEGV, SIGILL, SIGUSR1}) EXPECT_EQ(sigismember(&pending, signal), 0);
      stack_t alternate{};
      sigaltstack(nullptr, &alternate);
      EXPECT_EQ(alternate.ss_flags, SS_DISABLE);
      EXPECT_EQ(probe.call(PROBE_OP_RAISE, {PROBE_RAISE_SYSCALL}).run.exception_vector, kVectorUd);
      probe.abandon();
    }).join();
    if (same) return;
  }
  GTEST_SKIP() << "needs /proc/sys/kernel/ns_last_pid, which a container may not write";
}

// ---- What libc restores by itself ----

std::atomic<int> g_count;
std::atomic<std::uint64_t> g_mask;

void note(int, siginfo_t*, void*) {
  ++g_count;
  g_mask = current_mask();
}

TEST_P(InheritedMaskTest, ChildrenOfLibcLeaveHandlersAndMasksAlone) {
  const ScopedSignalMask mask(SIG_BLOCK, {SIGUSR2});
  // system() changes the first two and puts them back.
  const ScopedSigaction handlers[] = {{SIGINT, note, 0, {signal_}},
                                      {SIGQUIT, note, 0, {signal_}},
                                      {SIGCHLD, note, 0, {signal_}},
                                      {signal_, note, 0, {SIGUSR1}}};
  ASSERT_EQ(system("true"), 0);
  FILE* pipe = popen("true", "r");
  ASSERT_EQ(pclose(pipe), 0);
  for (const bool in_thread : {false, true}) {
    for (const int signal : {SIGINT, SIGQUIT, SIGCHLD, signal_}) {
      const auto check = [&] {
        g_count = 0;
        raise(signal);
        EXPECT_EQ(g_count, 1);
        EXPECT_EQ(g_mask, bit(SIGUSR2) | bit(signal) | bit(signal == signal_ ? SIGUSR1 : signal_));
        EXPECT_EQ(current_mask(), bit(SIGUSR2));
      };
      in_thread ? std::thread(check).join() : check();
    }
  }
  EXPECT_TRUE(enclaves_work());
}

// ---- Signals to threads that have never been in an enclave ----

TEST_P(InheritedMaskTest, HandlerOfAThreadWithoutEnclavesHasItsMaskAndGivesItBack) {
  const ScopedSigaction handler(SIGUSR1, note, 0, {signal_});
  const ScopedSigaction direct(signal_, note, 0, {SIGUSR2});
  g_count = 0;
  std::thread([&] {
    raise(SIGUSR1);
    EXPECT_EQ(g_mask, bit(SIGUSR1) | bit(signal_));
    EXPECT_EQ(current_mask(), 0u);
  }).join();
  std::thread([&] {
    raise(signal_);
    EXPECT_EQ(g_mask, bit(SIGUSR2) | bit(signal_));
    EXPECT_EQ(current_mask(), 0u);
    EXPECT_TRUE(enclaves_work());
  }).join();
  EXPECT_EQ(g_count, 2);
}

std::uint8_t* g_stack;
std::atomic<bool> g_on_it;

TEST_P(InheritedMaskTest, AlternateStackOfAThreadWithoutEnclavesIsUsedAndKept) {
  constexpr std::size_t kSize = 65536;
  static std::uint8_t stack[kSize];
  g_stack = stack;
  const auto here = [](int, siginfo_t*, void*) {
    std::uint8_t local;
    g_on_it = &local >= g_stack && &local < g_stack + kSize;
  };
  for (const unsigned flags : {0u, static_cast<unsigned>(SA_ONSTACK)}) {
    for (const int mode : {0, static_cast<int>(1U << 31) /* SS_AUTODISARM */}) {
      const ScopedSigaction handler(signal_, here, flags);
      std::thread([&] {
        const stack_t alternate{.ss_sp = stack, .ss_flags = mode, .ss_size = kSize};
        EXPECT_EQ(sigaltstack(&alternate, nullptr), 0);
        g_on_it = flags == 0;
        raise(signal_);
        EXPECT_EQ(g_on_it, flags != 0) << flags << " " << mode;
        stack_t after{};
        sigaltstack(nullptr, &after);
        EXPECT_EQ(after.ss_sp, stack);
        EXPECT_EQ(after.ss_flags, mode);
        EXPECT_EQ(current_mask(), 0u);
      }).join();
    }
  }
}

// libc hands the mask on while a signal's handler runs and returns, again and again.
TEST(InheritedMaskTest, HandlersWhileItIsHandedOnDoNotChangeIt) {
  const int status = start_with(bit(SIGFPE), [](const std::string&) {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, nullptr);
    const itimerval often{{0, 50}, {0, 50}};
    setitimer(ITIMER_REAL, &often, nullptr);
    int wrong = 0;
    for (int n = 0; n < 20; ++n) {
      wrong += spawn_by(&posix_spawn) != 0 ? 1 : 0;
    }
    const itimerval never{};
    setitimer(ITIMER_REAL, &never, nullptr);
    return wrong;
  });
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace enclume::test
