// SPDX-License-Identifier: Apache-2.0
// Random sequences of supervisor and user leaves against the second model. ENCLUME_PROPERTY_SECONDS makes it
// look longer, ENCLUME_PROPERTY_SEED elsewhere.
#include "property/leaf_sequence.h"

#include <gtest/gtest.h>

#include "property/budget.h"
#include "property/shrink.h"

namespace enclume::property {
namespace {

constexpr unsigned kLength = 250;
constexpr std::uint64_t kSeeds = 1000;  // about half a second

std::vector<Step> shortest(const std::vector<Step>& steps, std::size_t failing, Mutation mutation) {
  const Budget budget = Budget::of(30);
  std::vector<Step> prefix(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(failing) + 1);
  return shrink(
      std::move(prefix),
      [&](const std::vector<Step>& candidate) { return run(candidate, mutation).has_value(); },
      [&] { return budget.left(); });
}

// The first failing sequence within so many seeds, shrunk.
std::optional<std::vector<Step>> find_failure(Mutation mutation, std::uint64_t seeds) {
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const auto steps = random_steps(seed, kLength);
    if (const auto found = run(steps, mutation)) return shortest(steps, found->step, mutation);
  }
  return std::nullopt;
}

TEST(LeafSequence, RandomSequencesEndAsTheSecondModelSays) {
  Ends ends;
  const Budget budget(1.0);
  for (std::uint64_t seed = first_seed(), least = seed + kSeeds; seed < least || budget.left(); ++seed) {
    const auto steps = random_steps(seed, kLength);
    if (const auto found = run(steps, Mutation::None, &ends)) {
      const auto small = shortest(steps, found->step, Mutation::None);
      FAIL() << "seed " << seed << ", step " << found->step << ": " << found->what << "\n"
             << as_program(small, *run(small));
    }
  }
  // A walk that never gets anywhere would agree as well.
  for (const char* leaf :
       {"ecreate", "eadd", "eaug", "eremove", "eblock", "etrack", "epa", "ewb", "eld", "emodpr", "emodt",
        "eenter", "eresume", "eexit", "edeccssa", "eaccept", "eacceptcopy", "emodpe"}) {
    EXPECT_GE(ends[std::string(leaf) + " succeeds"], 20U) << leaf;
    EXPECT_GE(ends[std::string(leaf) + " fails"], 20U) << leaf;
  }
  for (const char* code : {"6", "9", "10", "11", "13", "14", "17", "19", "20"}) {
    EXPECT_GE(ends[std::string("code ") + code], 10U) << "code " << code << " is hardly met";
  }
}

TEST(LeafSequence, AProcessorThatAcceptsTooEarlyIsFoundAndTheSequenceShrinks) {
  const auto steps = find_failure(Mutation::AcceptBeforeTracked, kSeeds);
  ASSERT_TRUE(steps.has_value());
  EXPECT_FALSE(run(*steps)) << "the processor of src/arch agrees on it";
  EXPECT_EQ(steps->back().leaf, Leaf::Eaccept);
  // ECREATE, EADD of a TCS and its frame, EINIT, EADD or EAUG of a page, EMODT or EMODPR, EENTER, EACCEPT.
  EXPECT_LE(steps->size(), 10U) << as_program(*steps, *run(*steps, Mutation::AcceptBeforeTracked));
}

TEST(LeafSequence, AProcessorThatForgetsBlockedIsFoundAndTheSequenceShrinks) {
  const auto steps = find_failure(Mutation::EmodtUnblocks, kSeeds);
  ASSERT_TRUE(steps.has_value());
  EXPECT_FALSE(run(*steps));
  EXPECT_LE(steps->size(), 6U) << as_program(*steps, *run(*steps, Mutation::EmodtUnblocks));
}

}  // namespace
}  // namespace enclume::property
