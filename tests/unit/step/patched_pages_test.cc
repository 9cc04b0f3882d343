// SPDX-License-Identifier: Apache-2.0
#include "engine/pages/patched_pages.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>

namespace enclume::engine {
namespace {

LinearAddress page(std::uint64_t number) {
  return LinearAddress(0x7f00'0000'0000 + number * kPageSize);
}

class PatchedPagesTest : public ::testing::Test {
 protected:
  PatchedPages& pages() { return *pages_; }
  std::unique_ptr<PatchedPages> pages_ = std::make_unique<PatchedPages>();
};

TEST_F(PatchedPagesTest, FindsWhatWasInsertedAndNothingElse) {
  PageOffsets sites;
  sites.add(17);
  ASSERT_NE(pages().insert(page(3), sites), nullptr);
  ASSERT_NE(pages().find(page(3)), nullptr);
  EXPECT_TRUE(pages().find(page(3))->sites.contains(17));
  EXPECT_EQ(pages().find(page(4)), nullptr);
  pages().erase(page(3));
  EXPECT_EQ(pages().find(page(3)), nullptr);
  EXPECT_EQ(pages().count(), 0u);
}

TEST_F(PatchedPagesTest, IsFullAtItsCapacityAndThenNamesAVictim) {
  for (std::uint64_t i = 0; i < PatchedPages::kCapacity; ++i) {
    ASSERT_NE(pages().insert(page(i), {}), nullptr);
  }
  EXPECT_EQ(pages().insert(page(PatchedPages::kCapacity), {}), nullptr);
  for (std::uint64_t i = 0; i < PatchedPages::kCapacity; ++i) {
    ASSERT_NE(pages().find(page(i)), nullptr) << i;
  }
  const LinearAddress victim = pages().victim()->address;
  pages().erase(victim);
  EXPECT_NE(pages().insert(page(PatchedPages::kCapacity), {}), nullptr);
  EXPECT_EQ(pages().find(victim), nullptr);
}

TEST_F(PatchedPagesTest, VictimIsHeldOnlyIfAllAre) {
  PatchedPage* first = pages().insert(page(1), {});
  ASSERT_NE(pages().insert(page(2), {}), nullptr);
  pages().hold(*first);
  EXPECT_EQ(pages().victim()->address, page(2));
  EXPECT_EQ(pages().victim()->address, page(2));
  pages().hold(*pages().find(page(2)));
  EXPECT_NE(pages().victim(), nullptr);
}

TEST_F(PatchedPagesTest, TakeVisitsARangeOnceHoweverLargeItIs) {
  for (const std::uint64_t length : {std::uint64_t{10}, std::uint64_t{1} << 30}) {
    for (std::uint64_t i = 0; i < 20; ++i) {
      ASSERT_NE(pages().insert(page(i), {}), nullptr);
    }
    std::set<std::uint64_t> taken;
    pages().take({page(0), page(length)},
                 [&](const PatchedPage& entry) { EXPECT_TRUE(taken.insert(entry.address.value()).second); });
    EXPECT_EQ(taken.size(), length == 10 ? 10u : 20u);
    EXPECT_EQ(pages().count(), length == 10 ? 10u : 0u);
    pages().take({page(0), page(100)}, [](const PatchedPage&) {});
  }
}

TEST_F(PatchedPagesTest, HolderThatNeverReturnsIsGivenUp) {
  PatchedPage* entry = pages().insert(page(1), {});
  const std::uint32_t generation = pages().hold(*entry);
  for (std::uint32_t i = 0; i + 1 < kHoldSteps; ++i) {
    pages().count_step(*entry);
  }
  EXPECT_EQ(entry->holders, 1u);
  pages().count_step(*entry);
  EXPECT_EQ(entry->holders, 0u);
  // Should it return after all, it is not somebody else's hold that it ends.
  pages().hold(*entry);
  pages().release(page(1), generation);
  EXPECT_EQ(entry->holders, 1u);
}

TEST_F(PatchedPagesTest, ReleaseAfterThePageWasForgottenIsHarmless) {
  const std::uint32_t generation = pages().hold(*pages().insert(page(1), {}));
  pages().erase(page(1));
  pages().release(page(1), generation);
  PatchedPage* again = pages().insert(page(1), {});
  const std::uint32_t second = pages().hold(*again);
  EXPECT_NE(second, generation);
  pages().release(page(1), generation);
  EXPECT_EQ(again->holders, 1u);
  pages().release(page(1), second);
  EXPECT_EQ(again->holders, 0u);
}

}  // namespace
}  // namespace enclume::engine
