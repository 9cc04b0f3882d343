// SPDX-License-Identifier: Apache-2.0
// Prints the tables of src/engine/cpuid/code_odds.cc. Not a test: build and run it by hand, as in
//   cmake --build build --target measure_code_odds
//   build/bin/measure_code_odds PROGRAM...
// The programs should be of several compilers and levels of optimisation. Each counts as much as the others.
#include <elf.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "engine/cpuid/code_odds.h"
#include "engine/decode/decoder.h"

namespace enclume::engine {
namespace {

constexpr std::size_t kRandomBytes = 600'000;
constexpr double kPrior = 2;  // of each class, so that what never occurred has a weight too
constexpr int kMost = 12;
constexpr int kLeast = -14;

using Counts = std::array<double, kOddsClasses>;

std::vector<std::byte> section(const std::vector<char>& file, const std::string& wanted) {
  const auto at = [&]<typename T>(T, std::uint64_t offset) {
    T value;
    std::memcpy(&value, file.data() + offset, sizeof(value));
    return value;
  };
  const auto header = at(Elf64_Ehdr{}, 0);
  const auto names = at(Elf64_Shdr{}, header.e_shoff + header.e_shstrndx * sizeof(Elf64_Shdr));
  for (std::size_t i = 0; i < header.e_shnum; ++i) {
    const auto s = at(Elf64_Shdr{}, header.e_shoff + i * sizeof(Elf64_Shdr));
    if (wanted == file.data() + names.sh_offset + s.sh_name) {
      const auto* begin = reinterpret_cast<const std::byte*>(file.data() + s.sh_offset);
      return {begin, begin + s.sh_size};
    }
  }
  return {};
}

std::expected<decode::Instruction, decode::DecodeError> decode_at(std::span<const std::byte> text,
                                                                  std::size_t at) {
  return decode::decode(text.subspan(at, std::min<std::size_t>(text.size() - at, 15)));
}

void count_code(std::span<const std::byte> text, Counts& counts) {
  for (std::size_t at = 0; at < text.size();) {
    const auto in = decode_at(text, at);
    if (in) {
      ++counts[odds_class(*in)];
    }
    at += in ? in->length : 1;
  }
}

void count_data(std::span<const std::byte> data, Counts& counts) {
  for (std::size_t at = 0; at < std::min(data.size(), kRandomBytes); ++at) {
    if (const auto in = decode_at(data, at)) {
      ++counts[odds_class(*in)];
    }
  }
}

// Adds one program's shares to the sum of all.
void add_shares(const Counts& counts, Counts& shares, Counts& seen) {
  double total = 0;
  for (const double n : counts) {
    total += n + kPrior;
  }
  for (std::size_t i = 0; i < kOddsClasses; ++i) {
    shares[i] += (counts[i] + kPrior) / total;
    seen[i] += counts[i];
  }
}

void print(const char* name, std::span<const int> weights) {
  std::printf("constexpr std::array<std::int8_t, %zu> %s = {\n", weights.size(), name);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    std::printf("%s%d,%s", i % 16 == 0 ? "    " : "", weights[i],
                i % 16 == 15 || i + 1 == weights.size() ? "\n" : " ");
  }
  std::printf("};\n");
}

}  // namespace
}  // namespace enclume::engine

int main(int argc, char** argv) {
  using namespace enclume::engine;
  Counts code{}, data{}, seen{};
  double code_files = 0, data_files = 1;
  std::mt19937 random(1);
  std::vector<std::byte> noise(kRandomBytes);
  std::ranges::generate(noise, [&] { return static_cast<std::byte>(random()); });
  Counts counts{};
  count_data(noise, counts);
  add_shares(counts, data, seen);
  for (int i = 1; i < argc; ++i) {
    std::ifstream in(argv[i], std::ios::binary);
    const std::vector<char> file{std::istreambuf_iterator<char>(in), {}};
    counts = {};
    count_code(section(file, ".text"), counts);
    add_shares(counts, code, seen);
    ++code_files;
    if (const auto constants = section(file, ".rodata"); constants.size() >= kRandomBytes / 10) {
      counts = {};
      count_data(constants, counts);
      add_shares(counts, data, seen);
      ++data_files;
    }
  }
  std::array<int, kOddsClasses> weights{};
  for (std::size_t i = 0; i < kOddsClasses; ++i) {
    const double odds = (code[i] / code_files) / (data[i] / data_files);
    weights[i] =
        seen[i] == 0 ? 0 : std::clamp(static_cast<int>(std::lrint(2 * std::log2(odds))), kLeast, kMost);
  }
  print("kOneByte", std::span(weights).first(256));
  print("kMap0F", std::span(weights).subspan(256, 256));
  print("kOthers", std::span(weights).subspan(512));
}
