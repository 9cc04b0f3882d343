// SPDX-License-Identifier: Apache-2.0
#include "cli/nearest.h"

#include <gtest/gtest.h>

#include <array>

namespace enclume::cli {
namespace {

TEST(EditDistance, CountsSlips) {
  EXPECT_EQ(edit_distance("run", "run"), 0U);
  EXPECT_EQ(edit_distance("rnu", "run"), 1U);
  EXPECT_EQ(edit_distance("doctr", "doctor"), 1U);
  EXPECT_EQ(edit_distance("", "run"), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
}

TEST(NearestWord, PrefersTheClosestAndKeepsSilentIfNoneIsClose) {
  constexpr std::array<std::string_view, 3> kWords = {"doctor", "inspect", "run"};
  EXPECT_EQ(nearest_word("ruin", kWords), "run");
  EXPECT_EQ(nearest_word("docter", kWords), "doctor");
  EXPECT_EQ(nearest_word("xyz", kWords), std::nullopt);
  EXPECT_EQ(nearest_word("", kWords), std::nullopt);
}

}  // namespace
}  // namespace enclume::cli
