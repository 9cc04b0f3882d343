// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/site_table.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace enclume::engine {
namespace {

std::vector<HostSite> sites_every(std::uint64_t step, std::size_t count) {
  std::vector<HostSite> sites;
  for (std::size_t i = 1; i <= count; ++i) {
    sites.push_back({.address = step * i, .length = static_cast<std::uint8_t>(2 + i % 3)});
  }
  return sites;
}

TEST(SiteTable, EmptyKnowsNothing) {
  const SiteTable table;
  EXPECT_EQ(table.find(0), std::nullopt);
  EXPECT_TRUE(table.sites().empty());
}

TEST(SiteTable, FindsEachSiteAndNoNeighbour) {
  SiteTable table;
  const auto sites = sites_every(10, 1000);  // more than a page
  ASSERT_TRUE(table.publish(sites).has_value());
  for (const HostSite& site : sites) {
    EXPECT_EQ(table.find(site.address), site);
    EXPECT_EQ(table.find(site.address + 1), std::nullopt);
    EXPECT_EQ(table.find(site.address - 1), std::nullopt);
  }
  EXPECT_EQ(table.find(0), std::nullopt);
  EXPECT_EQ(table.find(~0ULL), std::nullopt);
}

TEST(SiteTable, TheLastPublicationCounts) {
  SiteTable table;
  ASSERT_TRUE(table.publish(sites_every(10, 5)).has_value());
  ASSERT_TRUE(table.publish(sites_every(7, 2)).has_value());
  EXPECT_EQ(table.find(10), std::nullopt);
  EXPECT_TRUE(table.find(14).has_value());
  ASSERT_TRUE(table.publish({}).has_value());
  EXPECT_EQ(table.find(14), std::nullopt);
}

TEST(SiteTable, ReadersSeeAWholeTableWhileItChanges) {
  SiteTable table;
  // Address 1000 is in both tables; 7 in one, 9 in the other.
  const std::vector<HostSite> one = {{.address = 7, .length = 2}, {.address = 1000, .length = 2}};
  const std::vector<HostSite> other = {{.address = 9, .length = 3}, {.address = 1000, .length = 2}};
  ASSERT_TRUE(table.publish(one).has_value());
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!stop.load()) {
        const auto both = table.find(1000);
        const auto seven = table.find(7);
        const auto nine = table.find(9);
        if (!both || (seven && seven->length != 2) || (nine && nine->length != 3)) {
          wrong.fetch_add(1);
        }
      }
    });
  }
  for (int i = 0; i < 5000; ++i) {
    ASSERT_TRUE(table.publish(i % 2 == 0 ? other : one).has_value());
  }
  stop = true;
  for (std::thread& reader : readers) {
    reader.join();
  }
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace enclume::engine
