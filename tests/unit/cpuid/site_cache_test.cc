// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/site_cache.h"

#include <gtest/gtest.h>
#include <link.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
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

// A line in the table, and no file.
TEST_F(SiteCacheTest, ObjectsWithoutSitesAreALine) {
  SitelessObjects siteless;
  bool changed = false;
  const SiteCache cache(directory_, 1, &siteless, &changed);
  const ScanCounts none{.candidates = 5, .let_be = 1, .plain = 2, .interior = 1, .unproven = 1};
  EXPECT_FALSE(cache.find(libc_.image(), request_, sites_).has_value());
  cache.keep(libc_.image(), request_, sites_.view(), none);
  EXPECT_TRUE(changed);
  EXPECT_TRUE(files().empty());
  const auto counts = cache.find(libc_.image(), request_, sites_);
  ASSERT_TRUE(counts.has_value());
  EXPECT_EQ(counts->candidates, 5u);
  EXPECT_EQ(counts->let_be, 1u);
  EXPECT_EQ(counts->plain, 2u);
  EXPECT_EQ(counts->interior, 1u);
  EXPECT_EQ(counts->unproven, 1u);
  EXPECT_EQ(counts->proven, 0u);
  EXPECT_TRUE(sites_.empty());
  EXPECT_FALSE(cache.find(libc_.image(), ScanRequest{}, sites_).has_value()) << "another request";
}

TEST_F(SiteCacheTest, ObjectsWithSitesAreAFileAllTheSame) {
  SitelessObjects siteless;
  bool changed = false;
  const SiteCache cache(directory_, 1, &siteless, &changed);
  counts_ = scan_object(libc_.image(), request_, sites_, unproven_);
  cache.keep(libc_.image(), request_, sites_.view(), counts_);
  EXPECT_FALSE(changed);
  EXPECT_EQ(files().size(), 1u);
  MappedArray<HostSite> found;
  ASSERT_TRUE(cache.find(libc_.image(), request_, found).has_value());
  EXPECT_EQ(found.size(), sites_.size());
}

TEST(SitelessObjectsTest, AFullTableChangesOnlyWhereThatIsWanted) {
  constexpr std::uint64_t kStep = 64;  // as keys that happen to be alike in some bits
  constexpr std::uint64_t kOneMore = kStep * (SitelessObjects::kPlaces + 1);
  SitelessObjects objects;
  EXPECT_FALSE(objects.find(0).has_value());
  for (std::uint32_t i = 1; i <= SitelessObjects::kPlaces; ++i) {
    EXPECT_TRUE(objects.add(kStep * i, {.candidates = i}, false));
  }
  EXPECT_FALSE(objects.add(kOneMore, {.candidates = 99}, false));
  EXPECT_FALSE(objects.find(kOneMore).has_value());
  EXPECT_TRUE(objects.add(kStep, {.candidates = 77}, false)) << "its own line";
  EXPECT_TRUE(objects.add(kOneMore, {.candidates = 99}, true));
  ASSERT_TRUE(objects.find(kOneMore).has_value());
  EXPECT_EQ(objects.find(kOneMore)->candidates, 99u);
  std::size_t lost = 0;
  for (std::uint32_t i = 1; i <= SitelessObjects::kPlaces; ++i) {
    const auto counts = objects.find(kStep * i);
    lost += counts.has_value() ? 0U : 1U;
    EXPECT_TRUE(!counts || counts->candidates == (i == 1 ? 77 : i));
  }
  EXPECT_EQ(lost, 1u);
}

TEST(SitelessObjectsTest, WhatDoesNotFitIsNotTaken) {
  SitelessObjects objects;
  EXPECT_FALSE(objects.add(1, {.interior = 256}, false));
  EXPECT_FALSE(objects.add(1, {.proven = 1}, false));
  EXPECT_TRUE(objects.add(1, {.interior = 255}, false));
  EXPECT_EQ(objects.find(1)->interior, 255u);
}

// What is executed must come from nobody else.
TEST_F(SiteCacheTest, CodeIsReadFromAFileThatOnlyItsUserCanWrite) {
  const std::array<std::byte, 4> data = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  directory_.write("file", data, data);
  const std::string path = path_ + "/file";
  std::array<std::byte, 4> out{};
  std::array<std::byte, 4> code{};
  EXPECT_EQ(directory_.read("file", out, code), 8u);
  EXPECT_EQ(out, data);
  EXPECT_EQ(code, data);
  for (const mode_t mode : {0620U, 0602U}) {
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    code = {};
    EXPECT_EQ(directory_.read("file", out, code), 4u);
    EXPECT_EQ(code, (std::array<std::byte, 4>{}));
  }
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  if (geteuid() == 0) {
    ASSERT_EQ(chown(path.c_str(), 1, static_cast<gid_t>(-1)), 0);
    EXPECT_EQ(directory_.read("file", out, code), 4u) << "another user's";
  }
}

TEST_F(SiteCacheTest, LongPathsAreFilesToo) {
  std::string path = path_;
  for (int i = 0; i < 3; ++i) {
    path += "/" + std::string(120, 'd');
    ASSERT_TRUE(fs::create_directory(path));
  }
  const CacheDirectory deep(path);
  const std::array<std::byte, 1> data = {std::byte{9}};
  deep.write("file", data);
  std::array<std::byte, 1> out{};
  EXPECT_EQ(deep.read("file", out), 1u);
  EXPECT_EQ(out, data);
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
