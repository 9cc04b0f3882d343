// SPDX-License-Identifier: Apache-2.0
//
// Threads that leave from the middle of things: in the handler of an entry made in the handler of another
// one, with an exception of the enclave unanswered or not, while other threads page both enclaves and take
// rights from them. Run with less EPC than the enclaves have.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>
#include <tuple>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr auto kEenter = static_cast<std::uint32_t>(Leaf::kEenter);
constexpr std::uint64_t kHeapPages = 200;  // each; the EPC has 256
constexpr unsigned kOfLeaver = 0, kOfChild = 1, kOfDisturber = 2;

enum class Way {
  PthreadExit,
  Exit,
  ForkAndExit,
  ForkAndReturn,
  ForkAndExecute,
  ExitAll,
  ExecuteOverAll
};
enum class From {
  AfterExit,
  AfterException
};

// Everything that a leaver uses: nothing on its stack may need a destructor.
struct Leaver {
  std::array<const ProbeEnclave*, 2> probes;
  std::uint64_t operation;
  Way way;
  pid_t test;  // the process of the test
  std::atomic<unsigned> left, wrong;
} g_leaver;

ProbeOptions options() {
  ProbeOptions options;
  options.threads = 3;
  options.heap_pages = kHeapPages;
  return options;
}

bool sums(unsigned thread) {
  for (const ProbeEnclave* probe : g_leaver.probes) {
    const CallResult result = probe->call(PROBE_OP_SUM, {40, 2}, thread);
    if (!result.exited() || result.args.out[0] != 42) return false;
  }
  return true;
}

// Of the test's process: how the child has ended.
void await(pid_t child) {
  int status = -1;
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0) ++g_leaver.wrong;
}

[[noreturn]] void execute() {
  execl("/bin/sh", "sh", "-c", "exit 0", nullptr);
  _exit(1);
}

void leave() {
  ++g_leaver.left;
  switch (g_leaver.way) {
    case Way::PthreadExit:
      pthread_exit(nullptr);
    case Way::Exit:
      syscall(SYS_exit, 0);
      break;
    case Way::ForkAndExit: {
      const pid_t child = fork();
      if (child == 0) _exit(sums(kOfChild) ? 0 : 1);
      await(child);
      break;
    }
    case Way::ForkAndReturn: {
      const pid_t child = fork();
      if (child != 0) await(child);
      break;  // the child goes on with what its parent's thread is in the middle of
    }
    case Way::ForkAndExecute: {
      const pid_t child = fork();
      if (child == 0) execute();
      await(child);
      break;
    }
    case Way::ExitAll:
      exit(0);
    case Way::ExecuteOverAll:
      execute();
  }
}

void enter(unsigned level);

int on_leave(long, long, long, long, long, long, sgx_enclave_run* run) {
  if (run->user_data == 0) {
    enter(1);
  } else {
    leave();
  }
  return 0;
}

void enter(unsigned level) {
  sgx_enclave_run run{};
  ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  run.tcs = g_leaver.probes[level]->tcs(kOfLeaver);
  run.user_data = level;
  run.user_handler = reinterpret_cast<std::uint64_t>(&on_leave);
  enclume_test_call_vdso(g_leaver.operation, address_of(&args), 0, kEenter, 0, 0, &run, vdso_function());
}

void* be_leaver(void*) {
  enter(0);
  if (getpid() != g_leaver.test) _exit(sums(kOfChild) ? 0 : 1);
  return nullptr;
}

class LeavingTest : public ::testing::TestWithParam<std::tuple<Way, From>> {};

TEST_P(LeavingTest, LeavesBothEnclavesToTheOthers) {
  const auto [way, from] = GetParam();
  const ProbeEnclave outer(options()), inner(options());
  g_leaver.probes = {&outer, &inner};
  g_leaver.operation = from == From::AfterExit ? PROBE_OP_NOP : PROBE_OP_RAISE;
  g_leaver.way = way;
  g_leaver.test = getpid();
  g_leaver.left = 0;
  g_leaver.wrong = 0;

  std::atomic<bool> stop = false;
  std::atomic<unsigned> pages = 0, wrong = 0;
  std::thread pager([&] {
    for (std::uint64_t n = 0; !stop; ++n) {
      for (const ProbeEnclave* probe : g_leaver.probes) {
        const std::uint64_t page = probe->heap() + n % kHeapPages * kPage;
        const CallResult result = probe->call(PROBE_OP_WRITE, {page, n}, kOfDisturber);
        if (!result.exited()) ++wrong;
        ++pages;
      }
    }
  });
  std::thread protector([&] {
    for (unsigned prot = PROT_READ; !stop; prot ^= PROT_WRITE) {
      for (const ProbeEnclave* probe : g_leaver.probes) {
        // A page of which nobody needs the right.
        mprotect(reinterpret_cast<void*>(probe->scratch()), kPage, static_cast<int>(prot));
      }
      usleep(50);
    }
  });

  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
  unsigned rounds = 0;
  // Longer where each instruction costs a signal.
  while (std::chrono::steady_clock::now() < end || rounds < 20 || pages <= 2 * kHeapPages) {
    ++rounds;
    pthread_t thread;
    ASSERT_EQ(pthread_create(&thread, nullptr, be_leaver, nullptr), 0);
    ASSERT_EQ(pthread_join(thread, nullptr), 0);
    if (from == From::AfterException) {
      outer.abandon(kOfLeaver);
      inner.abandon(kOfLeaver);
    }
    ASSERT_TRUE(sums(kOfLeaver)) << rounds;
  }
  stop = true;
  pager.join();
  protector.join();
  EXPECT_EQ(g_leaver.left, rounds);
  EXPECT_EQ(g_leaver.wrong, 0u) << "of " << rounds;
  EXPECT_EQ(wrong, 0u);
}

// The process ends, or becomes another, from within, with another of its threads inside; the enclaves live
// on, and the interrupt that ended that thread has let it out, so their pages can be evicted.
class LeavingProcessTest : public ::testing::TestWithParam<std::tuple<Way, From>> {};

TEST_P(LeavingProcessTest, LeavesBothEnclavesToItsParent) {
  const auto [way, from] = GetParam();
  ProbeOptions large = options(), small = options();
  large.heap_pages = 300;  // more than the EPC has: it can't go on without evicting its own
  small.heap_pages = 0;
  const ProbeEnclave outer(large), inner(small);
  g_leaver.probes = {&outer, &inner};
  g_leaver.operation = from == From::AfterExit ? PROBE_OP_NOP : PROBE_OP_RAISE;
  g_leaver.way = way;
  for (unsigned round = 0; round < 3; ++round) {
    // What the child needs is there, so that it has no paging to be ended in.
    ASSERT_TRUE(sums(kOfLeaver) && sums(kOfChild));
    const pid_t child = fork();
    if (child == 0) {
      static std::uint64_t stop, progress;
      std::thread([&outer] {
        for (;;) outer.call(PROBE_OP_SPIN, {address_of(&stop), address_of(&progress)}, kOfChild);
      }).detach();
      while (*static_cast<volatile std::uint64_t*>(&progress) == 0) usleep(100);
      std::thread([] { enter(0); }).join();
      _exit(2);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0) << round;
    for (std::uint64_t page = 0; page < large.heap_pages; ++page) {
      outer.write(outer.heap() + page * kPage, page, kOfDisturber);
    }
    if (from == From::AfterException) {
      outer.abandon(kOfLeaver);
      inner.abandon(kOfLeaver);
    }
    ASSERT_TRUE(sums(kOfLeaver)) << round;
    // The level that was interrupted is still there.
    ASSERT_EQ(outer.call(PROBE_OP_SUM, {1, 2}, kOfChild).args.out[0], 3u) << round;
    outer.abandon(kOfChild);
  }
}

// On hardware an EENTER or EEXIT is done or not, and who is killed has left.
TEST(KilledProcessTest, LeavesTheTcsFreeAndTheEnclaveWholeWhereverItWas) {
  constexpr std::uint64_t kLarge = 300;  // more than the EPC
  constexpr std::uint64_t kWords = kPage / 8;
  ProbeOptions large = options();
  large.heap_pages = kLarge;
  ProbeOptions small;
  small.threads = 2;
  unsigned seed = 1;
  for (int round = 0; round < 100; ++round) {
    const ProbeEnclave probe(round % 4 == 0 ? large : small);
    const bool pages = round % 4 == 0;
    if (pages) {
      ASSERT_TRUE(probe.call(PROBE_OP_FILL, {probe.heap(), kLarge * kWords, 5}).exited());
    }
    const pid_t child = fork();
    if (child == 0) {
      for (;;) {
        if (pages) probe.call(PROBE_OP_CHECK, {probe.heap(), kLarge * kWords, 5}, kOfChild);
        probe.call(PROBE_OP_SUM, {1, 2}, kOfChild);
      }
    }
    usleep(static_cast<useconds_t>(500 + rand_r(&seed) % 3000));
    kill(child, SIGKILL);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    ASSERT_EQ(probe.call(PROBE_OP_SUM, {1, 2}, kOfChild).args.out[0], 3u) << round;
    if (pages) {
      const auto check = probe.call(PROBE_OP_CHECK, {probe.heap(), kLarge * kWords, 5});
      ASSERT_TRUE(check.exited()) << round;
      ASSERT_EQ(check.args.out[0], 0u) << round;
    }
  }
}

// The first entry of a forked child is a long one.
TEST(KilledProcessTest, LeavesTheTcsFreeAtItsFirstEntry) {
  ProbeOptions small;
  small.threads = 2;
  auto* const ready = static_cast<std::atomic<bool>*>(
      mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  unsigned seed = 1;
  for (int round = 0; round < 300; ++round) {
    const ProbeEnclave probe(small);
    *ready = false;
    const pid_t child = fork();
    if (child == 0) {
      *ready = true;
      for (;;) probe.call(PROBE_OP_SUM, {1, 2}, kOfChild);
    }
    while (!*ready) __builtin_ia32_pause();
    const auto then = std::chrono::steady_clock::now() + std::chrono::microseconds(rand_r(&seed) % 300);
    while (std::chrono::steady_clock::now() < then) __builtin_ia32_pause();
    kill(child, SIGKILL);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    ASSERT_EQ(probe.call(PROBE_OP_SUM, {1, 2}, kOfChild).args.out[0], 3u) << round;
  }
  munmap(ready, kPage);
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<Way, From>>& test) {
  constexpr std::array kWays = {"PthreadExit",    "Exit",    "ForkAndExit",   "ForkAndReturn",
                                "ForkAndExecute", "ExitAll", "ExecuteOverAll"};
  const auto [way, from] = test.param;
  return std::string(kWays[static_cast<std::size_t>(way)]) +
         (from == From::AfterExit ? "AfterExit" : "AfterException");
}

INSTANTIATE_TEST_SUITE_P(Ways, LeavingTest,
                         ::testing::Combine(::testing::Values(Way::PthreadExit, Way::Exit, Way::ForkAndExit,
                                                              Way::ForkAndReturn, Way::ForkAndExecute),
                                            ::testing::Values(From::AfterExit, From::AfterException)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Ways, LeavingProcessTest,
                         ::testing::Combine(::testing::Values(Way::ExitAll, Way::ExecuteOverAll),
                                            ::testing::Values(From::AfterExit, From::AfterException)),
                         name_of);

}  // namespace
}  // namespace enclume::test
