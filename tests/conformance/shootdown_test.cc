// SPDX-License-Identifier: Apache-2.0
//
// Rights that a thread takes from an enclave's pages while another is inside: Linux flushes the TLB of each
// processor that may have them (mm/mprotect.c, mm/memory.c; arch/x86/mm/tlb.c), which is an interrupt, so the
// enclave is left and ERESUME finds what was done.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr auto kEenter = static_cast<std::uint32_t>(Leaf::kEenter);
constexpr auto kEresume = static_cast<std::uint32_t>(Leaf::kEresume);
constexpr unsigned kThreads = 2;

ProbeOptions options() {
  ProbeOptions options;
  options.threads = kThreads;
  return options;
}

struct Way {
  const char* name;
  int (*take)(void* page);
};
void PrintTo(const Way& way, std::ostream* out) {
  *out << way.name;
}

int protect(void* page) {
  return mprotect(page, kPage, PROT_NONE);
}
int unmap(void* page) {
  return munmap(page, kPage);
}
int map_over(void* page) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  return mmap(page, kPage, PROT_NONE, flags, -1, 0) == page ? 0 : -1;
}

class ShootdownTest : public ::testing::TestWithParam<Way> {};

// Its own TCS is what a running thread does not touch: it notices nothing unless it is interrupted.
TEST_P(ShootdownTest, ThreadWhoseTcsIsTakenAwayLeavesAndCannotResume) {
  const ProbeEnclave probe(options());
  volatile std::uint64_t stop = 0;
  std::array<volatile std::uint64_t, kThreads> progress{};
  std::array<CallResult, kThreads> results{};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      CallResult& r = results[i];
      r.args.in = {reinterpret_cast<std::uint64_t>(&stop), reinterpret_cast<std::uint64_t>(&progress[i])};
      r.run.tcs = probe.tcs(i);
      r.status = enclume_test_call_vdso(PROBE_OP_SPIN, address_of(&r.args), 0, kEenter, 0, 0, &r.run,
                                        vdso_function());
    });
  }
  for (const volatile std::uint64_t& at : progress) {
    while (at == 0) usleep(100);
  }
  EXPECT_EQ(GetParam().take(reinterpret_cast<void*>(probe.tcs(0))), 0);
  threads[0].join();
  const auto& run = results[0].run;
  EXPECT_TRUE(results[0].faulted());
  EXPECT_EQ(run.function, kEresume);
  EXPECT_EQ(run.exception_vector, kVectorPf);
  EXPECT_EQ(run.exception_error_code, kPfUser | kPfWrite);
  EXPECT_EQ(run.exception_addr, probe.tcs(0));
  // The other one has been resumed.
  const std::uint64_t then = progress[1];
  while (progress[1] == then) usleep(100);
  stop = 1;
  threads[1].join();
  EXPECT_TRUE(results[1].exited());
}

INSTANTIATE_TEST_SUITE_P(, ShootdownTest,
                         testing::Values(Way{"Protected", &protect}, Way{"Unmapped", &unmap},
                                         Way{"MappedOver", &map_over}),
                         [](const auto& test) { return std::string(test.param.name); });

// Wherever the other thread is just then: on its way in, inside, or on its way out.
TEST(ShootdownOfEntries, NoneStaysInsideByRightsThatAreGone) {
  const ProbeEnclave probe;
  void* const tcs = reinterpret_cast<void*>(probe.tcs());
  volatile std::uint64_t stop = 0, progress = 0;
  constexpr int kRounds = 400;
  std::atomic<int> begun = 0, faulted = 0, opened = 0, ended = 0;
  std::thread thread([&] {
    for (int i = 1; i <= kRounds; ++i) {
      while (begun != i) __builtin_ia32_pause();
      CallResult r{};
      r.args.in = {reinterpret_cast<std::uint64_t>(&stop), reinterpret_cast<std::uint64_t>(&progress)};
      r.run.tcs = probe.tcs();
      r.status = enclume_test_call_vdso(PROBE_OP_SPIN, address_of(&r.args), 0, kEenter, 0, 0, &r.run,
                                        vdso_function());
      EXPECT_TRUE(r.faulted());
      EXPECT_EQ(r.run.exception_addr, probe.tcs());
      faulted = i;
      while (opened != i) __builtin_ia32_pause();
      if (r.run.function == kEresume) {
        stop = 1;
        r.status = enclume_test_call_vdso(PROBE_OP_SPIN, address_of(&r.args), 0, kEresume, 0, 0, &r.run,
                                          vdso_function());
        EXPECT_TRUE(r.exited());
        stop = 0;
      }
      ended = i;
    }
  });
  for (int i = 1; i <= kRounds; ++i) {
    begun = i;
    for (int wait = 0; wait < i % 50 * 40; ++wait) __builtin_ia32_pause();
    EXPECT_EQ(mprotect(tcs, kPage, PROT_NONE), 0);
    while (faulted != i) usleep(10);
    EXPECT_EQ(mprotect(tcs, kPage, PROT_READ | PROT_WRITE), 0);
    opened = i;
    while (ended != i) usleep(10);
  }
  thread.join();
}

}  // namespace
}  // namespace enclume::test
