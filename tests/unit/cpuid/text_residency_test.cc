// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/text_residency.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

namespace enclume::engine {
namespace {

constexpr std::size_t kPages = 512;
constexpr std::size_t kSize = kPages * kPageSize;
static_assert(kSize > kScannedTextKept);

// A file of kPages, each beginning with its number, mapped as text is.
class TextResidencyTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/residencyXXXXXX";
    const int fd = mkstemp(name.data());
    ASSERT_GE(fd, 0);
    unlink(name.c_str());
    for (std::uint64_t page = 0; page < kPages; ++page) {
      const off_t offset = static_cast<off_t>(page * kPageSize);
      ASSERT_EQ(pwrite(fd, &page, sizeof page, offset), static_cast<ssize_t>(sizeof page));
    }
    ASSERT_EQ(ftruncate(fd, kSize), 0);
    text_ = static_cast<std::uint8_t*>(mmap(nullptr, kSize, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0));
    close(fd);
    ASSERT_NE(text_, MAP_FAILED);
    // Nothing is mapped but what is touched.
    ASSERT_EQ(madvise(text_, kSize, MADV_RANDOM), 0);
    header_.p_type = PT_LOAD;
    header_.p_flags = PF_R | PF_X;
    header_.p_filesz = header_.p_memsz = kSize;
  }
  void TearDown() override { munmap(text_, kSize); }

  [[nodiscard]] ObjectImage image() const {
    return {reinterpret_cast<std::uint64_t>(text_), {&header_, 1}, nullptr};
  }
  std::uint64_t touch(std::size_t page) const {
    return *reinterpret_cast<const volatile std::uint64_t*>(text_ + page * kPageSize);
  }
  void touch_all() const {
    for (std::size_t page = 0; page < kPages; ++page) {
      EXPECT_EQ(touch(page), page);
    }
  }
  [[nodiscard]] std::size_t pages_mapped() const {
    const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    std::array<std::uint64_t, kPages> entries{};
    const auto first = reinterpret_cast<std::uint64_t>(text_) / kPageSize;
    EXPECT_EQ(pread(pagemap, entries.data(), sizeof entries, static_cast<off_t>(first * sizeof entries[0])),
              static_cast<ssize_t>(sizeof entries));
    close(pagemap);
    std::size_t mapped = 0;
    for (const std::uint64_t entry : entries) {
      mapped += entry >> 63;
    }
    return mapped;
  }

  std::uint8_t* text_ = nullptr;
  Elf64_Phdr header_{};
};

TEST_F(TextResidencyTest, PagesThatAScanBroughtInAreGivenBack) {
  const ObjectImage object = image();
  std::size_t kept = 0;
  TextResidency residency(object, kept);
  touch_all();
  ASSERT_EQ(pages_mapped(), kPages);
  residency.restore();
  EXPECT_EQ(pages_mapped(), 0U);
  EXPECT_EQ(kept, 0U);
  touch_all();
}

TEST_F(TextResidencyTest, PagesThatWereInUseStay) {
  touch(0);
  touch(70);
  touch(kPages - 1);
  const std::size_t before = pages_mapped();
  const ObjectImage object = image();
  std::size_t kept = 0;
  TextResidency residency(object, kept);
  touch_all();
  residency.restore();
  EXPECT_EQ(pages_mapped(), before);
  EXPECT_LT(before, kPages);
}

TEST_F(TextResidencyTest, WrittenPagesKeepWhatWasWritten) {
  const ObjectImage object = image();
  std::size_t kept = 0;
  TextResidency residency(object, kept);
  touch_all();
  // As a debugger's breakpoint comes, between the two looks at the page.
  ASSERT_EQ(mprotect(text_ + 5 * kPageSize, kPageSize, PROT_READ | PROT_WRITE), 0);
  text_[5 * kPageSize + 100] = 0xcc;
  ASSERT_EQ(mprotect(text_ + 5 * kPageSize, kPageSize, PROT_READ | PROT_EXEC), 0);
  residency.restore();
  EXPECT_EQ(text_[5 * kPageSize + 100], 0xcc);
  EXPECT_EQ(touch(5), 5U);
}

TEST_F(TextResidencyTest, SmallObjectsAreLeftAloneUntilTheyAddUp) {
  header_.p_filesz = header_.p_memsz = kScannedTextKept / 2;
  const ObjectImage object = image();
  std::size_t kept = 0;
  for (int i = 0; i < 2; ++i) {
    TextResidency residency(object, kept);
    touch_all();
    residency.restore();
    EXPECT_EQ(pages_mapped(), kPages);
  }
  EXPECT_EQ(kept, kScannedTextKept);
  ASSERT_EQ(madvise(text_, kSize, MADV_DONTNEED), 0);
  TextResidency residency(object, kept);
  touch_all();
  residency.restore();
  EXPECT_EQ(pages_mapped(), kPages - kScannedTextKept / 2 / kPageSize);
}

}  // namespace
}  // namespace enclume::engine
