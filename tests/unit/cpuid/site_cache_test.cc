// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/site_cache.h"

#include <gtest/gtest.h>
#include <link.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace enclume::engine {
namespace {

namespace fs = std::filesystem;

// libc is large and has an id.
struct Libc {
  std::uint64_t bias = 0;
  std::vector<Elf64_Phdr> headers;
  std::string path;

  Libc() {
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* out) {
          auto& libc = *static_cast<Libc*>(out);
          if (std::string_view(info->dlpi_name).find("libc.so.6") != std::string_view::npos) {
            libc.bias = info->dlpi_addr;
            libc.headers.assign(info->dlpi_phdr, info->dlpi_phdr + info->dlpi_phnum);
            libc.path = info->dlpi_name;
          }
          return 0;
        },
        this);
  }
  [[nodiscard]] ObjectImage image() const { return {bias, headers, path.c_str()}; }
};

std::string fresh_directory() {
  std::string path = testing::TempDir() + "cacheXXXXXX";
  return mkdtemp(path.data());
}

class SiteCacheTest : public testing::Test {
 protected:
  ~SiteCacheTest() override { fs::remove_all(path_); }

  [[nodiscard]] std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(path_)) {
      names.push_back(entry.path().string());
    }
    return names;
  }
  // Scans libc and keeps what was found.
  void fill() {
    counts_ = scan_object(libc_.image(), request_, sites_, unproven_);
    cache_.keep(libc_.image(), request_, sites_.view(), counts_);
    ASSERT_EQ(files().size(), 1u);
  }
  void change_file(std::streamoff at, char value) {
    std::fstream file(files().front(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file.put(value);
  }

  Libc libc_;
  std::string path_ = fresh_directory();
  CacheDirectory directory_{path_};
  SiteCache cache_{directory_, 1};
  ScanRequest request_{.traps_call = [](std::uint32_t number) { return number < 20; }};
  MappedArray<HostSite> sites_;
  MappedArray<std::uint64_t> unproven_;
  ScanCounts counts_;
};

TEST_F(SiteCacheTest, GivesBackWhatWasKept) {
  ASSERT_NO_FATAL_FAILURE(fill());
  ASSERT_GT(sites_.size(), 10u) << "libc's system calls";
  MappedArray<HostSite> found;
  const auto counts = cache_.find(libc_.image(), request_, found);
  ASSERT_TRUE(counts.has_value());
  EXPECT_EQ(counts->candidates, counts_.candidates);
  EXPECT_TRUE(std::ranges::equal(found.view(), sites_.view()));
}

TEST_F(SiteCacheTest, HasNothingAtFirstAndMakesNoFile) {
  MappedArray<HostSite> found;
  EXPECT_FALSE(cache_.find(libc_.image(), request_, found).has_value());
  EXPECT_TRUE(files().empty());
}

TEST_F(SiteCacheTest, AnotherRequestIsAnotherAnswer) {
  ASSERT_NO_FATAL_FAILURE(fill());
  MappedArray<HostSite> found;
  EXPECT_FALSE(cache_.find(libc_.image(), ScanRequest{}, found).has_value());
}

TEST_F(SiteCacheTest, AnotherEnginesAnswersAreNotTaken) {
  ASSERT_NO_FATAL_FAILURE(fill());
  MappedArray<HostSite> found;
  EXPECT_FALSE(SiteCache(directory_, 2).find(libc_.image(), request_, found).has_value());
}

TEST_F(SiteCacheTest, AnotherFileOfTheSameIdIsNotTheSame) {
  ASSERT_NO_FATAL_FAILURE(fill());
  libc_.headers.back().p_memsz += 8;
  MappedArray<HostSite> found;
  EXPECT_FALSE(cache_.find(libc_.image(), request_, found).has_value());
}

TEST_F(SiteCacheTest, ADamagedFileCountsForNothing) {
  ASSERT_NO_FATAL_FAILURE(fill());
  const auto size = fs::file_size(files().front());
  MappedArray<HostSite> found;
  change_file(0, 'x');
  EXPECT_FALSE(cache_.find(libc_.image(), request_, found).has_value());
  cache_.keep(libc_.image(), request_, sites_.view(), counts_);
  change_file(static_cast<std::streamoff>(size) - 9, '\x7f');  // the last offset
  EXPECT_FALSE(cache_.find(libc_.image(), request_, found).has_value());
  cache_.keep(libc_.image(), request_, sites_.view(), counts_);
  fs::resize_file(files().front(), size - 1);
  EXPECT_FALSE(cache_.find(libc_.image(), request_, found).has_value());
  EXPECT_TRUE(found.empty());
}

TEST_F(SiteCacheTest, WithoutADirectoryNothingIsKept) {
  const CacheDirectory nowhere{""};
  const SiteCache cache(nowhere, 1);
  counts_ = scan_object(libc_.image(), request_, sites_, unproven_);
  cache.keep(libc_.image(), request_, sites_.view(), counts_);
  EXPECT_FALSE(cache.find(libc_.image(), request_, sites_).has_value());
}

TEST_F(SiteCacheTest, ALimitOfFileSizesKillsNobody) {
  EXPECT_EXIT(
      {
        rlimit none{};
        setrlimit(RLIMIT_FSIZE, &none);
        counts_ = scan_object(libc_.image(), request_, sites_, unproven_);
        cache_.keep(libc_.image(), request_, sites_.view(), counts_);
        _exit(files().empty() ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(BuildId, IsThatOfTheNote) {
  EXPECT_EQ(build_id_of(Libc().image()).size(), 20u);
}

}  // namespace
}  // namespace enclume::engine
