// SPDX-License-Identifier: Apache-2.0
//
// More enclave than EPC. Run with an EPC of one MiB, so that every test here lives by reclaim; on hardware
// the same programs simply fit.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "conformance/support.h"
#include "enclaves/trapped_code.h"

namespace enclume::test {
namespace {

constexpr std::uint64_t kWords = kPage / 8;

ProbeOptions with_heap(std::uint64_t pages, unsigned threads = 1) {
  ProbeOptions options;
  options.heap_pages = pages;
  options.threads = threads;
  return options;
}

// Whether guard regions can be had on files of memory, as for an engine's own; if not, it does without.
[[maybe_unused]] bool kernel_has_guards() {
  constexpr int kMadvGuardInstall = 102;
  void* page = mmap(nullptr, kPage, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  const bool has = page != MAP_FAILED && madvise(page, kPage, kMadvGuardInstall) == 0;
  munmap(page, kPage);
  return has;
}

// The words of a range that are not those of the pattern.
std::uint64_t differing(const ProbeEnclave& probe, std::uint64_t address, std::uint64_t words,
                        std::uint64_t seed, unsigned thread = 0) {
  const CallResult result = probe.call(PROBE_OP_CHECK, {address, words, seed}, thread);
  EXPECT_TRUE(result.exited()) << "vector " << result.run.exception_vector;
  return result.args.out[0];
}

TEST(PagingTest, EnclaveFourTimesTheEpcKeepsItsContents) {
  constexpr std::uint64_t kPages = 1024;
  const ProbeEnclave probe(with_heap(kPages));
  ASSERT_TRUE(probe.call(PROBE_OP_FILL, {probe.heap(), kPages * kWords, 1}).exited());
  EXPECT_EQ(differing(probe, probe.heap(), kPages * kWords, 1), 0u);
  EXPECT_EQ(differing(probe, probe.heap(), kPages * kWords, 1), 0u);
}

TEST(PagingTest, PagesComeBackInAnyOrder) {
  constexpr std::uint64_t kPages = 512;
  const ProbeEnclave probe(with_heap(kPages));
  for (std::uint64_t page = 0; page < kPages; ++page) {
    ASSERT_TRUE(probe.call(PROBE_OP_FILL, {probe.heap() + page * kPage, kWords, page}).exited());
  }
  std::uint64_t page = 7;
  for (int i = 0; i < 2000; ++i) {
    page = (page * 1103515245 + 12345) % kPages;
    ASSERT_EQ(differing(probe, probe.heap() + page * kPage, kWords, page), 0u) << page;
  }
}

TEST(PagingTest, PagesThatWereNeverTouchedHaveTheContentsTheyWereAddedWith) {
  constexpr std::uint64_t kPages = 700;
  const ProbeEnclave probe(with_heap(kPages));
  for (std::uint64_t page = 0; page < kPages; ++page) {
    ASSERT_EQ(probe.read(probe.heap() + page * kPage), page);
    ASSERT_EQ(probe.read(probe.heap() + page * kPage + 8), 0u);
  }
}

TEST(PagingTest, SeveralEnclavesShareTheEpc) {
  constexpr std::uint64_t kPages = 200;
  std::vector<std::unique_ptr<ProbeEnclave>> probes;
  for (std::uint64_t i = 0; i < 5; ++i) {
    probes.push_back(std::make_unique<ProbeEnclave>(with_heap(kPages)));
    ASSERT_TRUE(probes[i]->call(PROBE_OP_FILL, {probes[i]->heap(), kPages * kWords, i}).exited());
  }
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t i = 0; i < 5; ++i) {
      EXPECT_EQ(differing(*probes[i], probes[i]->heap(), kPages * kWords, i), 0u) << i;
    }
  }
}

TEST(PagingTest, ReadOnlyAndReadWritePagesKeepTheirPermissions) {
  const ProbeEnclave probe(with_heap(600));
  ASSERT_TRUE(probe.call(PROBE_OP_FILL, {probe.heap(), 600 * kWords, 3}).exited());
  const CallResult result = probe.call(PROBE_OP_WRITE, {probe.base(), 1});
  ASSERT_TRUE(result.faulted());
  EXPECT_EQ(result.run.exception_error_code, 7);
  EXPECT_EQ(differing(probe, probe.heap(), 600 * kWords, 3), 0u);
}

TEST(PagingTest, InterruptedEnclaveResumesWhenItsFrameWasEvicted) {
  const ProbeEnclave probe(with_heap(8));
  ProbeArgs args{.in = {PROBE_RAISE_UD2}, .out = {}};
  sgx_enclave_run run{};
  run.tcs = probe.tcs();
  ASSERT_EQ(enclume_test_call_vdso(PROBE_OP_RAISE, address_of(&args), 0, 2, 0, 0, &run, vdso_function()), 0);
  ASSERT_EQ(run.exception_vector, kVectorUd);
  {
    // Something larger than the EPC drives the first enclave out, TCS and SSA frames included.
    const ProbeEnclave other(with_heap(600));
    ASSERT_TRUE(other.call(PROBE_OP_FILL, {other.heap(), 600 * kWords, 9}).exited());
  }
  probe.set_ssa_rip(probe.base() + raise_site(PROBE_RAISE_UD2).next);
  ASSERT_EQ(probe.resume(run), 0);
  EXPECT_EQ(run.function, 4u);
  EXPECT_EQ(args.out[0], 1u);
}

TEST(PagingTest, ThreadsInsideWhileTheirPagesAreReclaimed) {
  constexpr unsigned kThreads = 4;
  constexpr std::uint64_t kPages = 160;  // Each; together more than the EPC.
  const ProbeEnclave probe(with_heap(kThreads * kPages, kThreads));
  std::vector<std::thread> threads;
  std::array<std::uint64_t, kThreads> wrong{};
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const std::uint64_t part = probe.heap() + i * kPages * kPage;
      for (std::uint64_t round = 0; round < 4; ++round) {
        probe.call(PROBE_OP_FILL, {part, kPages * kWords, i * 10 + round}, i);
        wrong[i] += differing(probe, part, kPages * kWords, i * 10 + round, i);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const std::uint64_t count : wrong) EXPECT_EQ(count, 0u);
}

TEST(PagingTest, ForkedChildSeesEvictedPages) {
  const ProbeEnclave probe(with_heap(600));
  ASSERT_TRUE(probe.call(PROBE_OP_FILL, {probe.heap(), 600 * kWords, 21}).exited());
  const int status = in_child([&] { return differing(probe, probe.heap(), 600 * kWords, 21) == 0 ? 0 : 1; });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(differing(probe, probe.heap(), 600 * kWords, 21), 0u);
}

TEST(PagingTest, EpcIsFreeAgainWhenEnclavesAreGone) {
  for (int i = 0; i < 10; ++i) {
    const ProbeEnclave probe(with_heap(400));
    ASSERT_TRUE(probe.call(PROBE_OP_FILL, {probe.heap(), 400 * kWords, 2}).exited()) << i;
  }
}

TEST(PagingTest, InstructionsThatAreTrappedStillAreWhenTheirPageComesBack) {
  ProbeOptions options = with_heap(600);
  options.code.assign(trapped_code_bytes().begin(), trapped_code_bytes().end());
  const ProbeEnclave probe(options);
  for (std::uint64_t round = 0; round < 3; ++round) {
    const CallResult result = probe.call(PROBE_OP_CALL, {probe.code() + trapped_code().cpuid_function});
    ASSERT_TRUE(result.faulted()) << "CPUID did not fault";
    EXPECT_EQ(result.run.exception_vector, kVectorUd);
    EXPECT_EQ(probe.read(probe.code() + trapped_code().cpuid) & 0xffff, 0xa20fu);
    probe.abandon();
    ASSERT_TRUE(probe.call(PROBE_OP_FILL, {probe.heap(), 600 * kWords, round}).exited());
  }
}

// A heap of which most is evicted, and what a host may do to its mapping meanwhile.
class EvictedHeapTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kPages = 600;
  static constexpr std::uint64_t kSeed = 31;

  EvictedHeapTest() {
    EXPECT_TRUE(probe_.call(PROBE_OP_FILL, {probe_.heap(), kPages * kWords, kSeed}).exited());
  }
  void expect_contents() const {
    for (int round = 0; round < 2; ++round) {
      EXPECT_EQ(differing(probe_, probe_.heap(), kPages * kWords, kSeed), 0u);
    }
    EXPECT_TRUE(probe_.call(PROBE_OP_FILL, {probe_.heap(), kPages * kWords, kSeed}).exited());
  }
  void* heap() const { return reinterpret_cast<void*>(probe_.heap()); }

  const ProbeEnclave probe_{with_heap(kPages)};
};

TEST_F(EvictedHeapTest, LosesAndRegainsItsMappingsPermissions) {
  ASSERT_EQ(mprotect(heap(), kPages * kPage, PROT_NONE), 0);
  for (const std::uint64_t page : {std::uint64_t{0}, kPages - 1}) {
    ASSERT_TRUE(probe_.call(PROBE_OP_READ, {probe_.heap() + page * kPage}).faulted());
    probe_.abandon();
  }
  ASSERT_EQ(mprotect(heap(), kPages * kPage, PROT_READ), 0);
  for (std::uint64_t page = 0; page < kPages; page += 7) {
    ASSERT_TRUE(probe_.call(PROBE_OP_WRITE, {probe_.heap() + page * kPage, 1}).faulted()) << page;
    probe_.abandon();
  }
  ASSERT_EQ(mprotect(heap(), kPages * kPage, PROT_READ | PROT_WRITE), 0);
  expect_contents();
}

TEST_F(EvictedHeapTest, AlternatesBetweenReadableAndWritable) {
  for (std::uint64_t page = 0; page < kPages; page += 2) {
    ASSERT_EQ(mprotect(reinterpret_cast<void*>(probe_.heap() + page * kPage), kPage, PROT_READ), 0);
  }
  EXPECT_EQ(differing(probe_, probe_.heap(), kPages * kWords, kSeed), 0u);
  for (std::uint64_t page = 0; page < kPages; page += 11) {
    const bool writable = page % 2 != 0;
    const CallResult result = probe_.call(PROBE_OP_WRITE, {probe_.heap() + page * kPage + kPage - 8, 0});
    ASSERT_EQ(result.exited(), writable) << page;
    if (!writable) probe_.abandon();
  }
  ASSERT_EQ(mprotect(heap(), kPages * kPage, PROT_READ | PROT_WRITE), 0);
  ASSERT_TRUE(probe_.call(PROBE_OP_FILL, {probe_.heap(), kPages * kWords, kSeed}).exited());
  expect_contents();
}

TEST_F(EvictedHeapTest, IsUnmappedAndMappedAgain) {
  ASSERT_EQ(munmap(heap(), kPages * kPage), 0);
  ASSERT_EQ(mmap(heap(), kPages * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, probe_.fd(), 0),
            heap());
  expect_contents();
}

TEST_F(EvictedHeapTest, IsMovedAwayAndBack) {
  void* const elsewhere = mmap(nullptr, kPages * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(elsewhere, MAP_FAILED);
  const int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
  ASSERT_EQ(mremap(heap(), kPages * kPage, kPages * kPage, flags, elsewhere), elsewhere);
  ASSERT_EQ(mremap(elsewhere, kPages * kPage, kPages * kPage, flags, heap()), heap());
  expect_contents();
}

TEST_F(EvictedHeapTest, IsLockedInMemoryAndUnlocked) {
  if (mlock2(heap(), kPages * kPage, MLOCK_ONFAULT) != 0) GTEST_SKIP() << "ulimit -l is too small";
  expect_contents();
  ASSERT_EQ(munlock(heap(), kPages * kPage), 0);
  expect_contents();
}

TEST_F(EvictedHeapTest, IsTheForkedChildsAsWell) {
  const int status = in_child([&] {
    expect_contents();
    return HasFailure() ? 1 : 0;
  });
  EXPECT_EQ(status, 0);
  expect_contents();
}

// Each process takes pages from the other, whose permissions and guards are its own.
TEST(PagingTest, ParentAndChildPageTheSameEnclaveAtOnce) {
  constexpr std::uint64_t kHalf = 300;
  const ProbeEnclave probe(with_heap(2 * kHalf, 2));
  const auto use = [&](unsigned who) {
    const std::uint64_t part = probe.heap() + who * kHalf * kPage;
    for (std::uint64_t round = 0; round < 4; ++round) {
      if (!probe.call(PROBE_OP_FILL, {part, kHalf * kWords, who * 10 + round}, who).exited() ||
          differing(probe, part, kHalf * kWords, who * 10 + round, who) != 0) {
        return false;
      }
    }
    return true;
  };
  ASSERT_TRUE(use(0));
  bool parent = false;
  std::thread other([&] { parent = use(0); });
  const int child = in_child([&] { return use(1) ? 0 : 1; });
  other.join();
  EXPECT_EQ(child, 0);
  EXPECT_TRUE(parent);
  EXPECT_EQ(differing(probe, probe.heap() + kHalf * kPage, kHalf * kWords, 13), 0u);
}

// A pipe for one process to wait for another.
class Turnstile {
 public:
  Turnstile() { EXPECT_EQ(pipe2(ends_, O_CLOEXEC), 0); }
  ~Turnstile() {
    close(ends_[0]);
    if (ends_[1] >= 0) close(ends_[1]);
  }
  // Is at its end when no other process has the pipe.
  int read_end_after_closing_the_other() const {
    close(ends_[1]);
    ends_[1] = -1;
    return ends_[0];
  }
  void open() const { EXPECT_EQ(::write(ends_[1], "x", 1), 1); }
  void wait() const {
    char byte;
    EXPECT_EQ(::read(ends_[0], &byte, 1), 1);  // not EINTR either
  }

 private:
  mutable int ends_[2];
};

// What one process holds the other has no mapping of, and no way to evict.
TEST(PagingTest, ProcessesThatShareNoEnclaveShareTheEpc) {
  constexpr std::uint64_t kPages = 600;
  const Turnstile filled, checked;
  bool parent = false;
  std::thread other([&] {
    filled.wait();
    const ProbeEnclave probe(with_heap(kPages));
    parent = probe.call(PROBE_OP_FILL, {probe.heap(), kPages * kWords, 5}).exited() &&
             differing(probe, probe.heap(), kPages * kWords, 5) == 0;
    checked.open();
  });
  const int child = in_child(
      [&] {
        const ProbeEnclave probe(with_heap(kPages));
        if (!probe.call(PROBE_OP_FILL, {probe.heap(), kPages * kWords, 3}).exited()) return 2;
        filled.open();
        checked.wait();  // outside of enclaves, in the kernel
        return differing(probe, probe.heap(), kPages * kWords, 3) == 0 && !::testing::Test::HasFailure() ? 0
                                                                                                         : 1;
      },
      30);
  if (child != 0) filled.open();  // it may never have come there
  other.join();
  EXPECT_EQ(child, 0);
  EXPECT_TRUE(parent);
}

TEST(PagingTest, ProcessesWithAnEnclaveEachPageAtOnce) {
  constexpr std::uint64_t kPages = 300;
  const ProbeEnclave shared(with_heap(kPages, 3));
  ASSERT_TRUE(shared.call(PROBE_OP_FILL, {shared.heap(), kPages * kWords, 7}).exited());
  const auto use = [&](unsigned who) {
    const ProbeEnclave own(with_heap(kPages));
    for (std::uint64_t round = 0; round < 3; ++round) {
      if (!own.call(PROBE_OP_FILL, {own.heap(), kPages * kWords, round}).exited() ||
          differing(own, own.heap(), kPages * kWords, round) != 0 ||
          differing(shared, shared.heap(), kPages * kWords, 7, who) != 0) {
        return 1;
      }
    }
    return 0;
  };
  std::array<int, 2> status{};
  std::thread first([&] { status[0] = in_child([&] { return use(0); }, 50); });
  status[1] = in_child([&] { return use(1); }, 50);
  first.join();
  EXPECT_EQ(status, (std::array{0, 0}));
  EXPECT_EQ(differing(shared, shared.heap(), kPages * kWords, 7, 2), 0u);
}

// The ioctl returns when nobody is inside who was before ETRACK, in whichever process, and on the way in,
// too.
TEST(PagingTest, EacceptAfterRestrictFindsThePageTrackedThoughAnotherProcessEnters) {
  constexpr std::uint64_t kPages = 8;
  const ProbeEnclave probe(with_heap(kPages, 4));
  sgx_enclave_remove_pages nothing{};
  if (remove_pages(probe.fd(), nothing) == ENODEV) GTEST_SKIP() << "the machine has SGX1 only";
  auto* const done = static_cast<std::atomic<bool>*>(
      mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const pid_t child = fork();
  if (child == 0) {
    std::array<std::thread, 3> threads;
    for (unsigned i = 0; i < 3; ++i) {
      threads[i] = std::thread([&, i] {
        while (!*done) probe.call(PROBE_OP_WORK, {10, 1}, i + 1);
      });
    }
    for (auto& thread : threads) thread.join();
    _exit(0);
  }
  std::uint64_t not_tracked = 0;
  for (int round = 0; round < 300; ++round) {
    sgx_enclave_restrict_permissions restrict {};
    restrict.offset = probe.heap() - probe.base();
    restrict.length = kPages * kPage;
    restrict.permissions = kR;
    EXPECT_EQ(restrict_permissions(probe.fd(), restrict), 0);
    for (std::uint64_t page = 0; page < kPages; ++page) {
      const std::uint64_t at = probe.heap() + page * kPage;
      not_tracked += probe.enclu_secinfo(Leaf::kEaccept, kPtReg | kR | kPr, at).rax != 0 ? 1U : 0U;
      probe.enclu_secinfo(Leaf::kEmodpe, kPtReg | kR | kW, at);
    }
  }
  *done = true;
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(not_tracked, 0u);
  munmap(done, kPage);
}

// Neither a child that has ended, of which its parent does not want to know yet, nor a program that a child
// has become, has the parent's enclaves.
class LeftOverTest : public ::testing::TestWithParam<bool> {};

TEST_P(LeftOverTest, ProcessesHoldNoEpc) {
  constexpr std::uint64_t kPages = 120;  // of 256
  std::vector<pid_t> children;
  for (int round = 0; round < 6; ++round) {
    const ProbeEnclave probe(with_heap(kPages));
    ASSERT_EQ(fcntl(probe.fd(), F_SETFD, FD_CLOEXEC), 0);
    EXPECT_TRUE(probe.call(PROBE_OP_FILL, {probe.heap(), kPages * kWords, 2}).exited()) << round;
    const Turnstile gone;
    const pid_t child = fork();
    if (child == 0) {
      if (GetParam()) execl("/bin/sleep", "sleep", "60", nullptr);
      _exit(0);
    }
    children.push_back(child);
    // Either way it has let go of its copy of the pipe then.
    const pollfd end{.fd = gone.read_end_after_closing_the_other(), .events = 0, .revents = 0};
    pollfd ends[] = {end};
    ASSERT_EQ(poll(ends, 1, 10000), 1);
  }
  for (const pid_t child : children) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Of, LeftOverTest, ::testing::Bool(), [](const auto& executed) {
  return executed.param ? "AnotherProgram" : "ADeadChild";
});

// On its way out a page is in no page table, so no leaf is to meet it, and EACCEPTCOPY not to refuse it.
TEST(PagingTest, EacceptcopyFindsEachPendingPageThoughTheyComeAndGo) {
  constexpr std::uint64_t kPart = 100, kNew = 150;
  ProbeOptions options = with_heap(3 * kPart, 4);
  options.minimum_size = 4 << 20;
  LoadOptions load;
  load.map_holes = true;
  const ProbeEnclave probe(options, load);
  sgx_enclave_remove_pages nothing{};
  if (remove_pages(probe.fd(), nothing) == ENODEV) GTEST_SKIP() << "the machine has SGX1 only";
  const std::uint64_t hole = probe.base() + (2 << 20);
  for (std::uint64_t i = 0; i < kNew; ++i) {
    *reinterpret_cast<volatile std::uint8_t*>(hole + i * kPage);
  }
  std::atomic<bool> done{false};
  std::vector<std::thread> pressing;
  for (unsigned i = 0; i < 3; ++i) {
    pressing.emplace_back([&, i] {
      while (!done) probe.call(PROBE_OP_FILL, {probe.heap() + i * kPart * kPage, kPart * kWords, i}, i + 1);
    });
  }
  std::uint64_t refused = 0;
  for (std::uint64_t i = 0; i < kNew; ++i) {
    const auto flags = kPtReg | kR | kW;
    refused += probe.enclu_secinfo(Leaf::kEacceptcopy, flags, hole + i * kPage, probe.base()).rax;
  }
  done = true;
  for (auto& thread : pressing) thread.join();
  EXPECT_EQ(refused, 0u);
  for (std::uint64_t i = 0; i < kNew; ++i) {
    ASSERT_EQ(probe.read(hole + i * kPage), probe.read(probe.base())) << i;
  }
}

// What a page in use costs: the reclaimer's work is not to be seen in the number of mappings, of which a
// process can't have many.
TEST_F(EvictedHeapTest, NeedsFewMappings) {
  if (!kernel_has_guards()) GTEST_SKIP() << "a kernel before 6.15, or made to look like one";
  std::uint64_t page = 7;
  for (int i = 0; i < 4000; ++i) {
    page = (page * 1103515245 + 12345) % kPages;
    ASSERT_TRUE(probe_.call(PROBE_OP_READ, {probe_.heap() + page * kPage}).exited());
  }
  std::ifstream maps("/proc/self/maps");
  int of_heap = 0;
  for (std::string line; std::getline(maps, line);) {
    const std::uint64_t begin = std::stoull(line, nullptr, 16);
    of_heap += begin >= probe_.heap() && begin < probe_.heap() + kPages * kPage ? 1 : 0;
  }
  EXPECT_LT(of_heap, 20);
}

}  // namespace
}  // namespace enclume::test
