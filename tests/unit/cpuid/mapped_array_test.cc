// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/mapped_array.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace enclume::engine {
namespace {

std::vector<int> elements(std::span<const int> view) {
  return {view.begin(), view.end()};
}

TEST(MappedArray, LiesInWhatIsLentUntilThatIsFull) {
  std::array<int, 3> lent{};
  MappedArray<int> array{std::span(lent)};
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(array.push_back(i));
    EXPECT_EQ(array.begin(), lent.data());
  }
  ASSERT_TRUE(array.push_back(4));
  EXPECT_NE(array.begin(), lent.data());
  EXPECT_EQ(elements(array.view()), (std::vector<int>{1, 2, 3, 4}));
  for (int i = 5; i <= 5000; ++i) {
    ASSERT_TRUE(array.push_back(i));
  }
  EXPECT_EQ(array[0], 1);
  EXPECT_EQ(array.back(), 5000);
}

TEST(MappedArray, WhatIsLentIsNotGivenBackToTheKernel) {
  alignas(4096) static std::array<int, 1024> lent;
  lent.fill(7);
  {
    MappedArray<int> array{std::span(lent)};
    ASSERT_TRUE(array.assign_zeroed(10));
    ASSERT_TRUE(array.assign_zeroed(5000));
  }
  EXPECT_EQ(lent[0], 0);
  EXPECT_EQ(lent[10], 7);
}

TEST(MappedArray, MovesOutOfWhatIsLent) {
  std::array<int, 4> storage{};
  MappedArray<int> array(storage);
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(array.push_back(i));
  }
  EXPECT_EQ(array.begin(), storage.data());
  ASSERT_TRUE(array.push_back(4));
  EXPECT_NE(array.begin(), storage.data());
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(array[static_cast<std::size_t>(i)], i);
  }
  MappedArray<int> other(storage);
  other = std::move(array);
  EXPECT_EQ(other.size(), 5u);  // and the destructors unmap neither's storage
}

TEST(ImmortalArray, TakesFewAndMany) {
  static ImmortalArray<int, 2> kept;
  EXPECT_TRUE(kept.view().empty());
  for (const int count : {1, 2, 3, 1, 5000, 2, 0}) {
    std::array<int, 4> lent{};
    MappedArray<int> array{std::span(lent)};
    std::vector<int> expected;
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(array.push_back(count + i));
      expected.push_back(count + i);
    }
    kept.adopt(array);
    EXPECT_EQ(elements(kept.view()), expected) << count;
  }
}

}  // namespace
}  // namespace enclume::engine
