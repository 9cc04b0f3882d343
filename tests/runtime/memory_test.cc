// SPDX-License-Identifier: Apache-2.0
// Heap and stacks that grow where the processor has SGX2, and stay what the image says where it has not. One
// signed image for both: MRENCLAVE is the same.
#include "runtime/memory.h"

#include <cpuid.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "enclume/host/enclave.h"

namespace {

using namespace memory;
using enclume::Code;
using Loaded = enclume::Enclave<Memory>;

bool has_sgx2() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  __cpuid_count(0x12, 0, a, b, c, d);
  return (a & 2) != 0;
}

Loaded load() {
  auto enclave = Loaded::load(ENCLUME_TEST_MEMORY_IMAGE, {.when_busy = enclume::WhenBusy::kFail});
  if (!enclave) {
    ADD_FAILURE() << describe(enclave.error().code) << " (" << enclave.error().system << ")";
    std::exit(1);
  }
  return *enclave;
}

class Grows : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_sgx2()) GTEST_SKIP() << "no SGX2";
  }
  const Loaded enclave = load();
};
using HeapGrows = Grows;
using StackGrows = Grows;

class StaysAsItIs : public testing::Test {
 protected:
  void SetUp() override {
    if (has_sgx2()) GTEST_SKIP() << "has SGX2";
  }
  const Loaded enclave = load();
};

TEST_F(HeapGrows, FromWhatTheLoaderHasAdded) {
  EXPECT_EQ(enclave.call<heap>(), (Size{kHeap, kHeapMax}));
}

TEST_F(HeapGrows, WithSmallBlocks) {
  EXPECT_EQ(enclave.call<fill>(10'000U, 1000U), 10'000U);
  const auto size = enclave.call<heap>();
  ASSERT_TRUE(size);
  EXPECT_GT(size->bytes, 10'000'000U);
  EXPECT_LT(size->bytes, 11'000'000U);
}

TEST_F(HeapGrows, NoFurtherThanItIsUsed) {
  EXPECT_EQ(enclave.call<fill>(1U, 1U << 20), 1U);
  const auto size = enclave.call<heap>();
  ASSERT_TRUE(size);
  EXPECT_LT(size->bytes, (1U << 20) + (256U << 10));
  // The same again is there already.
  EXPECT_EQ(enclave.call<fill>(1U, 1U << 20), 1U);
  EXPECT_EQ(enclave.call<heap>(), *size);
}

TEST_F(HeapGrows, UpToItsLimit) {
  const auto got = enclave.call<fill>(1'000'000U, 100'000U);
  ASSERT_TRUE(got);
  EXPECT_GT(*got, kHeapMax / 100'000 - 10);
  EXPECT_LE(*got, kHeapMax / 100'000);
  EXPECT_EQ(enclave.call<fill>(1'000'000U, 100'000U), *got);
}

TEST_F(HeapGrows, NotForWhatDoesNotFit) {
  EXPECT_EQ(enclave.call<can_have>(kHeapMax, 16U), false);
  EXPECT_EQ(enclave.call<can_have>(std::uint64_t{1} << 40, 16U), false);
  EXPECT_EQ(enclave.call<can_have>(~std::uint64_t{0}, 16U), false);
  EXPECT_EQ(enclave.call<heap>(), (Size{kHeap, kHeapMax}));
}

TEST_F(HeapGrows, ForAlignedBlocks) {
  EXPECT_EQ(enclave.call<can_have>(3U << 20, 1U << 20), true);
}

TEST_F(HeapGrows, ForBigBlocks) {
  EXPECT_EQ(enclave.call<fill>(3U, 8U << 20), 3U);
}

TEST_F(HeapGrows, UnderSeveralThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(enclave.call<fill>(300U, 30'000U), 300U);
        EXPECT_EQ(enclave.call<fill>(30U, 300'000U), 30U);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST_F(StackGrows, ByTouch) {
  EXPECT_EQ(enclave.call<recurse>(800U), 1U);
  EXPECT_EQ(enclave.call<recurse>(800U), 1U);
}

TEST_F(StackGrows, AcrossManyPagesAtOnce) {
  EXPECT_EQ(enclave.call<jump_down>(kStackMax - (64U << 10)), 5U);
  EXPECT_EQ(enclave.call<recurse>(800U), 1U);
}

TEST_F(StackGrows, UnderCallsWithinCalls) {
  EXPECT_EQ(enclave.call<call_around>(200U), 1U);
  EXPECT_EQ(enclave.call<recurse>(800U), 1U);
}

TEST_F(StackGrows, OfEachThread) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) EXPECT_EQ(enclave.call<recurse>(800U), 1U);
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST_F(StackGrows, NotBeyondItsLimit) {
  for (int i = 0; i < 3; ++i) {
    const auto result = enclave.call<recurse>(1100U);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::kFault);
    EXPECT_EQ(result.error().fault.vector, 14);
  }
  EXPECT_EQ(enclave.call<recurse>(800U), 1U);
}

TEST_F(StackGrows, NotForTouchesAnywhereElse) {
  // Past the guard below the stack: another thread's place, or nobody's.
  const auto result = enclave.call<jump_down>(2 * kStackMax);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kFault);
}

TEST_F(StaysAsItIs, Heap) {
  EXPECT_EQ(enclave.call<heap>(), (Size{kHeap, kHeap}));
  EXPECT_EQ(enclave.call<fill>(40U, 1000U), 40U);
  EXPECT_EQ(enclave.call<can_have>(kHeap, 16U), false);
  const auto got = enclave.call<fill>(10'000U, 1000U);
  ASSERT_TRUE(got);
  EXPECT_LT(*got, kHeap / 1000);
}

TEST_F(StaysAsItIs, Stack) {
  EXPECT_EQ(enclave.call<recurse>(8U), 1U);
  const auto result = enclave.call<recurse>(800U);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kFault);
  EXPECT_EQ(enclave.call<recurse>(8U), 1U);
}

// Run with `--inject eaug`: some page that heap or stack wants is not to be had.
class WithoutPages : public testing::Test {
 protected:
  void SetUp() override {
    if (std::getenv("ENCLUME_TEST_NO_PAGES") == nullptr) GTEST_SKIP() << "the host has pages";
  }
  const Loaded enclave = load();
};

TEST_F(WithoutPages, TheHeapSaysNoAndGoesOn) {
  // Some pages are refused: what came before is kept, and the next attempt goes on from there.
  const auto got = enclave.call<fill>(1U, 1U << 20);
  EXPECT_EQ(got, 0U);
  const auto size = enclave.call<heap>();
  ASSERT_TRUE(size);
  EXPECT_GT(size->bytes, kHeap);
  std::uint64_t last = 0;
  for (int i = 0; i < 300 && last == 0; ++i) last = enclave.call<fill>(1U, 256U << 10).value_or(~0U);
  EXPECT_EQ(last, 1U);
}

TEST_F(WithoutPages, TheStackEndsTheCallAndLosesNothing) {
  int ended = 0, done = 0;
  for (int i = 0; i < 100 && done < 3; ++i) {
    // By one touch, which many pages have to come for.
    const auto result = enclave.call<jump_down>(kStackMax / 2);
    if (result) {
      ++done;
      EXPECT_EQ(*result, 5U);
    } else {
      ++ended;
      EXPECT_EQ(result.error().code, Code::kFault);
    }
  }
  EXPECT_GT(ended, 0);
  EXPECT_EQ(done, 3);
  EXPECT_EQ(enclave.call<recurse>(400U), 1U);
}

}  // namespace

std::uint64_t memory::come_back(std::uint64_t depth) {
  return Loaded::current()->call<call_around>(depth).value_or(0);
}
