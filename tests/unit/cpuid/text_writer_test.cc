// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/text_writer.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

namespace enclume::engine {
namespace {

// A file of two pages with "text" in it, mapped as the dynamic linker maps text.
class TextWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    file_ = memfd_create("text", MFD_CLOEXEC);
    ASSERT_GE(file_, 0);
    ASSERT_EQ(ftruncate(file_, 8192), 0);
    map(MAP_PRIVATE);
  }
  void TearDown() override {
    munmap(text_, 8192);
    close(file_);
  }
  void map(int flags) {
    if (text_ != nullptr) {
      munmap(text_, 8192);
    }
    void* mapped = mmap(nullptr, 8192, PROT_READ | PROT_EXEC, flags, file_, 0);
    ASSERT_NE(mapped, MAP_FAILED);
    text_ = static_cast<std::uint8_t*>(mapped);
  }
  [[nodiscard]] std::uint64_t address(int offset) const {
    return reinterpret_cast<std::uint64_t>(text_ + offset);
  }
  [[nodiscard]] std::uint8_t in_file(int offset) const {
    std::uint8_t byte = 0xff;
    EXPECT_EQ(pread(file_, &byte, 1, offset), 1);
    return byte;
  }
  [[nodiscard]] std::string protection() const {
    std::string found;
    char line[512];
    char start[32];
    std::snprintf(start, sizeof start, "%lx-", reinterpret_cast<unsigned long>(text_));
    FILE* maps = fopen("/proc/self/maps", "re");
    while (maps != nullptr && fgets(line, sizeof line, maps) != nullptr) {
      if (std::strncmp(line, start, std::strlen(start)) == 0) {
        found = std::string(std::strchr(line, ' ') + 1, 4);
      }
    }
    if (maps != nullptr) {
      fclose(maps);
    }
    return found;
  }

  int file_ = -1;
  std::uint8_t* text_ = nullptr;
};

TEST_F(TextWriterTest, WritesThisProcessesCopyOnly) {
  TextWriter writer;
  EXPECT_TRUE(writer.write(address(4095), 0x0b, PROT_READ | PROT_EXEC));
  EXPECT_EQ(text_[4095], 0x0b);
  EXPECT_EQ(in_file(4095), 0);
  EXPECT_EQ(protection(), "r-xp");
}

TEST_F(TextWriterTest, MprotectDoesTheSame) {
  EXPECT_TRUE(TextWriter::write_through_mprotect(address(4096), 0x0b, PROT_READ | PROT_EXEC));
  EXPECT_EQ(text_[4096], 0x0b);
  EXPECT_EQ(in_file(4096), 0);
  EXPECT_EQ(protection(), "r-xp");
}

TEST_F(TextWriterTest, WhereNothingRunsPagesAreWritableMeanwhileAndThenAsTheyWere) {
  {
    TextWriter writer(true);
    for (const int offset : {1, 4095, 4096, 2}) {
      EXPECT_TRUE(writer.write(address(offset), 0x0b, PROT_READ | PROT_EXEC));
      EXPECT_EQ(text_[offset], 0x0b);
    }
  }
  EXPECT_EQ(in_file(1), 0);
  EXPECT_EQ(protection(), "r-xp");
}

TEST_F(TextWriterTest, WhatIsAnnouncedBecomesWritableAtOnceAndIsThenAsItWas) {
  {
    TextWriter writer(true);
    writer.announce(address(1), address(4097), PROT_READ | PROT_EXEC);
    EXPECT_EQ(protection(), "rwxp");
    EXPECT_TRUE(writer.is_announced(address(0)));
    EXPECT_TRUE(writer.is_announced(address(8191)));
    EXPECT_FALSE(writer.is_announced(address(8192)));
    for (const int offset : {1, 4097}) {
      EXPECT_TRUE(writer.write(address(offset), 0x0b, PROT_READ | PROT_EXEC));
      EXPECT_EQ(text_[offset], 0x0b);
    }
  }
  EXPECT_EQ(protection(), "r-xp");
}

TEST_F(TextWriterTest, NothingIsWritableThatMayBeRunning) {
  TextWriter writer;
  writer.announce(address(1), address(4097), PROT_READ | PROT_EXEC);
  EXPECT_EQ(protection(), "r-xp");
  EXPECT_FALSE(writer.is_announced(address(1)));
}

TEST_F(TextWriterTest, SharedTextIsNotWrittenThroughProc) {
  map(MAP_SHARED);
  TextWriter writer;
  EXPECT_FALSE(writer.write_through_proc(address(0), 0x0b));
  EXPECT_EQ(in_file(0), 0);
}

TEST_F(TextWriterTest, UnmappedTextIsAFailureNotAFault) {
  const std::uint64_t gone = address(0);
  munmap(text_, 8192);
  TextWriter writer;
  EXPECT_FALSE(writer.write(gone, 0x0b, PROT_READ | PROT_EXEC));
}

}  // namespace
}  // namespace enclume::engine
