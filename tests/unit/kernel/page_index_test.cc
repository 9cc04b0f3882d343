// SPDX-License-Identifier: Apache-2.0
#include "kernel/page_index.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "kernel_world.h"

namespace enclume::test {
namespace {

using kernel::MetadataLayout;
using kernel::PageIndex;

class PageIndexProperty : public ::testing::TestWithParam<unsigned> {};

TEST_P(PageIndexProperty, AgreesWithASet) {
  const std::uint64_t size = 1ULL << GetParam();
  const MetadataLayout layout = MetadataLayout::of(size);
  std::vector<std::uint64_t> words(layout.va / 8 - layout.index / 8);
  PageIndex index(layout, reinterpret_cast<std::byte*>(words.data()));
  std::set<std::uint64_t> model;
  std::mt19937_64 random(GetParam());
  const std::uint64_t pages = layout.pages;

  for (int step = 0; step < 20000; ++step) {
    // Clusters, so that words fill up and become empty again.
    const std::uint64_t page = ((random() % 4) * 7919 + random() % 200) % pages;
    if (random() % 2 == 0) {
      index.insert(page);
      model.insert(page);
    } else if (model.erase(page) != 0) {
      index.erase(page);
    }
    const std::uint64_t from = random() % pages;
    const auto next = model.lower_bound(from);
    ASSERT_EQ(index.next(from), next == model.end() ? PageIndex::kNone : *next);
    ASSERT_EQ(index.contains(page), model.contains(page));
    const std::uint64_t near = page;
    const std::uint64_t limit = std::min(pages, near + 300);
    std::uint64_t absent = near;
    while (absent < limit && model.contains(absent)) {
      ++absent;
    }
    ASSERT_EQ(index.next_absent(near, limit), absent);
  }
  EXPECT_EQ(index.next(pages), PageIndex::kNone);
}

INSTANTIATE_TEST_SUITE_P(Sizes, PageIndexProperty, ::testing::Values(13, 16, 18, 19, 24, 31));

TEST(LayoutTest, PartsDoNotOverlapAndHoldTheBiggestEnclave) {
  for (unsigned bits = 13; bits <= 46; ++bits) {
    const std::uint64_t size = 1ULL << bits;
    const MetadataLayout l = MetadataLayout::of(size);
    const std::uint64_t pages = size / kPage;
    const std::array<std::uint64_t, 10> places = {0,    l.secs,     l.epcm, l.page_table, l.index,
                                                  l.va, l.va_slots, l.pcmd, l.spare,      l.length};
    const std::array<std::uint64_t, 9> least = {kernel::kHeaderLength,
                                                kPage,
                                                (pages + 1 + l.max_va_pages) * 32,
                                                pages * 8,
                                                pages / 8,
                                                l.max_va_pages * kPage,
                                                l.max_va_pages * 64,
                                                (pages + 1) * 128,
                                                kPage};
    for (std::size_t i = 0; i < least.size(); ++i) {
      EXPECT_GE(places[i + 1] - places[i], least[i]) << bits << " part " << i;
      EXPECT_EQ(places[i] % kPage, 0);
    }
    EXPECT_GE(l.max_va_pages * 512, pages + 1);
    EXPECT_LE(kernel::kMetadataOffset + l.length, kernel::kFileLength);
    // What does not depend on use: under 2 % of the enclave, PCMDs (used for evicted pages) apart.
    EXPECT_LE(l.va_slots - l.epcm, size / 50 + 16 * kPage);
  }
}

TEST(PageIndexTest, LookingAtAnEmptyStretchAllocatesNothing) {
  KernelWorld w;
  const EnclaveImage image = test_image(1ULL << 34);
  Enclave& e = w.build(image);
  const auto blocks = [&] {
    struct stat s {};
    fstat(e.file().value, &s);
    return s.st_blocks;
  };
  const auto before = blocks();
  for (std::uint64_t page = 64; page < e.pages(); page += 4099) {
    EXPECT_FALSE(e.index().contains(page));
    EXPECT_EQ(e.index().next(page), PageIndex::kNone);
    EXPECT_EQ(effective_protection(e, page, kernel::kProtAll), kernel::kProtNone);
  }
  // The upper levels are a few pages; the lowest of this enclave would be 128, the page table 8192.
  EXPECT_LE(blocks() - before, 8 * 8);
}

}  // namespace
}  // namespace enclume::test
