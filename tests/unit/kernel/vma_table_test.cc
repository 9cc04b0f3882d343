// SPDX-License-Identifier: Apache-2.0
// The VMA table against a model that knows each page by itself.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "kernel_world.h"

namespace enclume::test {
namespace {

using kernel::Vma;
using kernel::VmaTable;

constexpr std::uint64_t kPages = 64;
constexpr std::uint64_t kStart = 0x10000;

LinearAddress at(std::uint64_t page) {
  return LinearAddress(kStart + page * kPage);
}

/// One entry a page: which VMA it belongs to (VMAs are never merged, so two neighbours differ), and how.
struct ModelPage {
  int vma = 0;
  Protection prot;
  Enclave* enclave = nullptr;
};

class Model {
 public:
  void insert(std::uint64_t first, std::uint64_t end, Protection prot, Enclave* e) {
    ++last_;
    for (std::uint64_t p = first; p < end; ++p) {
      pages_[p] = {last_, prot, e};
    }
  }
  void remove(std::uint64_t first, std::uint64_t end) {
    for (std::uint64_t p = first; p < end; ++p) {
      pages_[p] = {};
    }
    split(end);
  }
  void protect(std::uint64_t first, std::uint64_t end, Protection prot) {
    for (std::uint64_t p = first; p < end;) {
      const ModelPage now = pages_[p];
      std::uint64_t q = p;
      while (q < kPages && pages_[q].vma == now.vma && now.vma != 0) {
        ++q;
      }
      if (now.vma == 0) {
        ++p;
        continue;
      }
      if (now.prot == prot) {
        p = q;
        continue;
      }
      const std::uint64_t stop = std::min(q, end);
      ++last_;
      for (; p < stop; ++p) {
        pages_[p].vma = last_;
        pages_[p].prot = prot;
      }
      split(stop);
    }
  }
  void replace(std::uint64_t first, std::uint64_t end, Protection prot, Enclave* e) {
    remove(first, end);
    insert(first, end, prot, e);
  }
  [[nodiscard]] bool free(std::uint64_t first, std::uint64_t end) const {
    for (std::uint64_t p = first; p < end; ++p) {
      if (pages_[p].vma != 0) {
        return false;
      }
    }
    return true;
  }
  [[nodiscard]] std::vector<Vma> vmas() const {
    std::vector<Vma> out;
    for (std::uint64_t p = 0; p < kPages; ++p) {
      const ModelPage& m = pages_[p];
      if (m.vma == 0) {
        continue;
      }
      if (p > 0 && pages_[p - 1].vma == m.vma) {
        out.back().range.end = at(p + 1);
      } else {
        out.push_back({{at(p), at(p + 1)}, m.prot, kernel::kProtAll, m.enclave});
      }
    }
    return out;
  }

 private:
  /// What continues at `page` is a VMA of its own from now on.
  void split(std::uint64_t page) {
    if (page >= kPages || pages_[page].vma == 0 || page == 0) {
      return;
    }
    const int old = pages_[page].vma;
    ++last_;
    for (; page < kPages && pages_[page].vma == old; ++page) {
      pages_[page].vma = last_;
    }
  }

  std::array<ModelPage, kPages> pages_{};
  int last_ = 0;
};

std::vector<Vma> contents(const VmaTable& table) {
  std::vector<Vma> out;
  for (auto v = table.find_from(LinearAddress(0)); v; v = table.find_from(v->range.end)) {
    out.push_back(*v);
  }
  return out;
}

std::vector<Vma> cut_to(std::vector<Vma> vmas, LinearRange range) {
  std::vector<Vma> out;
  for (Vma& vma : vmas) {
    vma.range = {std::max(vma.range.begin, range.begin), std::min(vma.range.end, range.end)};
    if (vma.range.begin < vma.range.end) {
      out.push_back(vma);
    }
  }
  return out;
}

class VmaTableProperty : public ::testing::TestWithParam<unsigned> {};

TEST_P(VmaTableProperty, AgreesWithTheModelPageByPage) {
  FakePlatform platform;
  VmaTable table(platform);
  Model model;
  std::array<Enclave, 2> enclaves;
  std::mt19937_64 random(GetParam());
  const auto pick = [&](std::uint64_t limit) { return random() % limit; };

  for (int step = 0; step < 3000; ++step) {
    const std::uint64_t first = pick(kPages);
    const std::uint64_t end = first + 1 + pick(std::min<std::uint64_t>(kPages - first, 12));
    const LinearRange range{at(first), at(end)};
    const Protection prot = Protection::of(static_cast<unsigned>(pick(8)));
    {
      VmaTable::Writer writer(table, platform.thread_id());
      switch (pick(5)) {
        case 0:
          if (model.free(first, end)) {
            Enclave* e = &enclaves[pick(2)];
            ASSERT_TRUE(writer.insert({range, prot, kernel::kProtAll, e}));
            model.insert(first, end, prot, e);
          }
          break;
        case 1:
          ASSERT_TRUE(writer.remove(range));
          model.remove(first, end);
          break;
        case 2:
          ASSERT_TRUE(writer.protect(range, prot));
          model.protect(first, end, prot);
          break;
        case 3: {
          Enclave* e = &enclaves[pick(2)];
          ASSERT_TRUE(writer.replace({range, prot, kernel::kProtAll, e}));
          model.replace(first, end, prot, e);
          break;
        }
        default: {
          const std::vector<Vma> before = contents(table);
          ASSERT_TRUE(pick(2) == 0 ? writer.remove(range) : writer.protect(range, prot));
          std::vector<Vma> gone;
          writer.for_each_before(range, [&](const Vma& vma) { gone.push_back(vma); });
          if (contents(table) != before) {
            ASSERT_EQ(gone, cut_to(before, range));
          }
          writer.undo();
          ASSERT_EQ(contents(table), before);
        }
      }
    }
    const std::vector<Vma> expected = model.vmas();
    ASSERT_EQ(contents(table), expected) << "step " << step;
    ASSERT_EQ(table.size(), expected.size());
    const LinearAddress probe = at(pick(kPages)) + pick(kPage);
    std::optional<Vma> found;
    for (const Vma& v : expected) {
      if (v.range.contains(probe)) {
        found = v;
      }
    }
    ASSERT_EQ(table.find(probe), found);
    ASSERT_EQ(table.overlaps(range), std::any_of(expected.begin(), expected.end(),
                                                 [&](const Vma& v) { return v.range.overlaps(range); }));
    ASSERT_EQ(table.count(enclaves[0]) + table.count(enclaves[1]), expected.size());
    ASSERT_EQ(table.maps(enclaves[0]), table.count(enclaves[0]) != 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, VmaTableProperty, ::testing::Range(1U, 9U));

TEST(VmaTableTest, GrowsBeyondOnePage) {
  FakePlatform platform;
  VmaTable table(platform);
  Enclave enclave;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    VmaTable::Writer writer(table, platform.thread_id());
    ASSERT_TRUE(writer.insert({{at(2 * i), at(2 * i + 1)}, kernel::kProtRead, kernel::kProtAll, &enclave}));
  }
  EXPECT_EQ(table.size(), 3000);
  EXPECT_FALSE(table.find(at(3)));
  EXPECT_TRUE(table.find(at(5998)));
}

TEST(VmaTableTest, NoMemoryChangesNothing) {
  FakePlatform platform;
  VmaTable table(platform);
  Enclave enclave;
  const Vma vma{{at(0), at(9)}, kernel::kProtRead, kernel::kProtAll, &enclave};
  platform.refuse_pages = true;
  {
    VmaTable::Writer writer(table, platform.thread_id());
    EXPECT_EQ(writer.insert(vma), fail(Errno::NoMemory));
  }
  platform.refuse_pages = false;
  {
    VmaTable::Writer writer(table, platform.thread_id());
    EXPECT_TRUE(writer.insert(vma));
  }
  platform.refuse_pages = true;
  {
    VmaTable::Writer writer(table, platform.thread_id());
    EXPECT_EQ(writer.remove({at(3), at(4)}), fail(Errno::NoMemory));
  }
  EXPECT_EQ(contents(table), std::vector{vma});
}

TEST(VmaTableTest, KeySplitsAndStaysUntilAnotherIsGiven) {
  FakePlatform platform;
  VmaTable table(platform);
  Enclave enclave;
  const Vma whole{{at(0), at(9)}, kernel::kProtRead, kernel::kProtAll, &enclave};
  VmaTable::Writer writer(table, platform.thread_id());
  ASSERT_TRUE(writer.insert(whole));
  ASSERT_TRUE(writer.protect({at(3), at(4)}, kernel::kProtRead, 15));
  ASSERT_EQ(table.size(), 3);
  EXPECT_EQ(table.find(at(2))->pkey, 0U);
  EXPECT_EQ(table.find(at(3))->pkey, 15U);
  EXPECT_EQ(table.find(at(3))->may_prot, kernel::kProtAll);
  EXPECT_EQ(table.find(at(4))->pkey, 0U);
  ASSERT_TRUE(writer.protect({at(0), at(9)}, kernel::kProtWrite));
  EXPECT_EQ(table.find(at(3))->pkey, 15U);
  EXPECT_EQ(table.find(at(3))->prot, kernel::kProtWrite);
  ASSERT_TRUE(writer.protect({at(3), at(4)}, kernel::kProtWrite, 0));
  EXPECT_EQ(table.find(at(3))->pkey, 0U);
}

TEST(VmaTableTest, ReadersSeeOneVersionOrTheNext) {
  FakePlatform platform;
  VmaTable table(platform);
  std::array<Enclave, 2> enclaves;
  // In each version the two VMAs belong to the same enclave and have the same permissions.
  const auto write = [&](unsigned i) {
    VmaTable::Writer writer(table, platform.thread_id());
    const Protection prot = Protection::of(i);
    Enclave* e = &enclaves[i % 2];
    ASSERT_TRUE(writer.remove({at(0), at(20)}));
    ASSERT_TRUE(writer.insert({{at(i % 3), at(10)}, prot, prot, e}));
    ASSERT_TRUE(writer.insert({{at(10), at(20)}, prot, prot, e}));
  };
  write(1);
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  std::atomic<std::uint64_t> reads{0};
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&] {
      while (!stop) {
        if (const auto v = table.find(at(5))) {
          EXPECT_EQ(v->prot, v->may_prot);
          EXPECT_EQ(v->enclave, &enclaves[v->prot.bits() % 2]);
          EXPECT_EQ(v->range.end, at(10));
        }
        ++reads;
      }
    });
  }
  for (unsigned i = 0; i < 20000 || reads < 1000; ++i) {
    write(i % 8);
  }
  stop = true;
  for (auto& t : readers) {
    t.join();
  }
}

}  // namespace
}  // namespace enclume::test
