// SPDX-License-Identifier: Apache-2.0
//
// More enclave than EPC. Run with an EPC of one MiB, so that every test here lives by reclaim; on hardware
// the same programs simply fit.
#include <gtest/gtest.h>

#include <memory>
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

}  // namespace
}  // namespace enclume::test
