// SPDX-License-Identifier: Apache-2.0
// The text of `--inject`, and what it comes to.
#include "engine/inject/plan.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace enclume::engine {
namespace {

using Event = Injection::Event;
using When = Injection::When;

InjectionPlan plan_of(std::string_view text) {
  const auto plan = parse_injections(text);
  EXPECT_TRUE(plan.has_value()) << text << ": " << plan.error().part << ", " << plan.error().remedy;
  return plan.value_or(InjectionPlan{});
}

std::vector<std::uint64_t> due(const InjectionPlan& plan, std::uint64_t limit) {
  std::vector<std::uint64_t> numbers;
  for (std::uint64_t n = 1; n <= limit; ++n) {
    if (plan.is_due(plan.items[0], n)) numbers.push_back(n);
  }
  return numbers;
}

TEST(InjectionPlanTest, TakesEachEvent) {
  const auto plan = plan_of(
      "lose-epc@1,eenter=#GP@2,einit=INVALID_SIGNATURE@3,eaug@4,page-fault=0x3000@5,bus-error=8192@6,"
      "interrupt@7,backing-full@8");
  ASSERT_EQ(plan.count, kInjectionEvents.size());
  const std::uint64_t values[] = {0, 13, 8, 0, 0x3000, 0x2000, 0, 0};
  for (std::size_t i = 0; i < plan.count; ++i) {
    EXPECT_EQ(plan.items[i].event, static_cast<Event>(i));
    EXPECT_EQ(plan.items[i].value, values[i]);
    EXPECT_EQ(plan.items[i].n, i + 1);
  }
  EXPECT_EQ(plan.text_of(plan.items[1]), "eenter=#GP@2");
}

TEST(InjectionPlanTest, HappensOnceOrAgainAndAgain) {
  EXPECT_EQ(due(plan_of("eaug@3"), 10), (std::vector<std::uint64_t>{3}));
  EXPECT_EQ(due(plan_of("eaug@every:4"), 12), (std::vector<std::uint64_t>{4, 8, 12}));
}

TEST(InjectionPlanTest, RandomFollowsFromTheSeed) {
  auto plan = plan_of("eaug@random:10");
  const auto first = due(plan, 10000);
  EXPECT_NEAR(static_cast<double>(first.size()), 1000, 150);
  EXPECT_EQ(due(plan, 10000), first);
  plan.seed = 1;
  EXPECT_NE(due(plan, 10000), first);
}

TEST(InjectionPlanTest, TimesAreForTheLossOfTheEpc) {
  const auto plan = plan_of("lose-epc@500ms,lose-epc@2s,lose-epc@7us");
  EXPECT_EQ(plan.items[0].when, When::After);
  EXPECT_EQ(plan.items[0].n, 500'000'000u);
  EXPECT_EQ(plan.items[1].n, 2'000'000'000u);
  EXPECT_EQ(plan.items[2].n, 7'000u);
  EXPECT_FALSE(plan.is_due(plan.items[0], 500'000'000));
}

TEST(InjectionPlanTest, NamesThePartThatIsWrong) {
  const struct {
    const char* text;
    const char* part;
  } cases[] = {{"", ""},
               {"lose-epc", "lose-epc"},
               {"lose-epc@", ""},
               {"lose-epc@x", "x"},
               {"lose-epc@0", "0"},
               {"lose-epc@every:0", "every:0"},
               {"lose-epc@every:3ms", "every:3ms"},
               {"lose-epc@3min", "3min"},
               {"lose-epc@999999999s", "999999999s"},
               {"lose-epc=1@3", "1"},
               {"eaug@3ms", "3ms"},
               {"eenter@3", "eenter@3"},
               {"eenter=14@3", "14"},
               {"einit=0@1", "0"},
               {"einit=65536@1", "65536"},
               {"page-fault=0x1001@1", "0x1001"},
               {"page-fault=0x@1", "0x"},
               {"page-fault=0xg000@1", "0xg000"},
               {"bus-error@1", "bus-error@1"},
               {"eaug@1,,eaug@2", ""},
               {"eaug@1 ", "1 "}};
  for (const auto& c : cases) {
    const auto plan = parse_injections(c.text);
    ASSERT_FALSE(plan.has_value()) << c.text;
    EXPECT_EQ(plan.error().part, c.part) << c.text;
    EXPECT_FALSE(plan.error().remedy.empty()) << c.text;
  }
}

TEST(InjectionPlanTest, HasRoomForSixteenEventsAndFiveHundredTwelveCharacters) {
  std::string text = "eaug@1";
  for (int i = 0; i < 15; ++i) text += ",eaug@1";
  EXPECT_EQ(plan_of(text).count, 16u);
  EXPECT_FALSE(parse_injections(text + ",eaug@1").has_value());
  EXPECT_FALSE(parse_injections("page-fault=" + std::string(600, '0') + "@1").has_value());
}

}  // namespace
}  // namespace enclume::engine
