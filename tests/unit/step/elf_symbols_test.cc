// SPDX-License-Identifier: Apache-2.0
// Names from this test's own file, and from what is left of it after damage.
#include "engine/trace/elf_symbols.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>
#include <string>
#include <vector>

extern "C" {
[[gnu::noinline, gnu::used]] int enclume_test_anchor(int x) {
  __asm__ volatile("" : "+r"(x));
  return x + 1;
}
}

namespace enclume::engine {
namespace {

std::vector<std::byte> own_file() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const std::vector<char> text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

/// Where in the file the byte at this address comes from.
std::uint64_t offset_in_file(std::uint64_t address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::uint64_t begin = 0, end = 0, offset = 0;
    char dash = 0;
    std::string permissions;
    std::istringstream(line) >> std::hex >> begin >> dash >> end >> permissions >> offset;
    if (address >= begin && address < end) return address - begin + offset;
  }
  return 0;
}

std::uint64_t anchor() {
  return offset_in_file(reinterpret_cast<std::uint64_t>(&enclume_test_anchor));
}

TEST(ElfSymbols, FunctionsAreFoundByWhereTheyAreInTheFile) {
  const auto file = own_file();
  const ElfSymbols symbols(file);
  const auto first = symbols.find(anchor());
  ASSERT_TRUE(first);
  EXPECT_EQ(first->name, "enclume_test_anchor");
  EXPECT_EQ(first->offset, 0u);
  const auto inside = symbols.find(anchor() + 2);
  ASSERT_TRUE(inside);
  EXPECT_EQ(inside->name, "enclume_test_anchor");
  EXPECT_EQ(inside->offset, 2u);
}

TEST(ElfSymbols, WhatIsLoadedNowhereHasNone) {
  const auto file = own_file();
  EXPECT_FALSE(ElfSymbols(file).find(file.size() - 1));
  EXPECT_FALSE(ElfSymbols(file).find(~std::uint64_t{0}));
  EXPECT_FALSE(ElfSymbols().find(0));
}

TEST(ElfSymbols, AnythingMayBeInTheFile) {
  const auto file = own_file();
  std::mt19937_64 random(7);
  Elf64_Ehdr header;
  std::memcpy(&header, file.data(), sizeof header);
  for (int i = 0; i < 300; ++i) {
    auto damaged = file;
    if (i % 3 == 0) damaged.resize(random() % damaged.size());
    for (int n = 0; n < 8 && damaged.size() > 64; ++n) {
      const std::size_t where[] = {random() % 64, header.e_phoff + random() % 700,
                                   header.e_shoff + random() % (64u * header.e_shnum),
                                   random() % damaged.size()};
      if (const std::size_t at = where[random() % 4]; at < damaged.size() && at > 16) {
        damaged[at] = static_cast<std::byte>(random());
      }
    }
    if (const auto found = ElfSymbols(damaged).find(anchor())) {
      // Whatever it says lies in the file.
      const auto* name = reinterpret_cast<const std::byte*>(found->name.data());
      EXPECT_GE(name, damaged.data());
      EXPECT_LE(name + found->name.size(), damaged.data() + damaged.size());
    }
  }
}

}  // namespace
}  // namespace enclume::engine
