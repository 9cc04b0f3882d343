// SPDX-License-Identifier: Apache-2.0
// Asks the Python programs in tests/oracle, which share no code with the processor.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace enclume::test {

inline std::string hex(std::span<const std::byte> bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string out;
  for (const std::byte b : bytes) {
    out += kDigits[std::to_integer<unsigned>(b) >> 4];
    out += kDigits[std::to_integer<unsigned>(b) & 0xf];
  }
  return out;
}

/// Runs `script` on a file with `input` and returns the lines of its answer.
inline std::vector<std::string> ask_oracle(const std::string& script, const std::string& input) {
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const std::string path =
      ::testing::TempDir() + "enclume_" + test->test_suite_name() + "_" + test->name() + ".txt";
  std::ofstream(path) << input;
  const std::string command = std::string(ENCLUME_PYTHON " " ENCLUME_ORACLE "/") + script + " " + path;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  if (pipe == nullptr) {
    throw std::runtime_error("can't run " + command);
  }
  std::vector<std::string> lines;
  std::array<char, 256> line;
  while (std::fgets(line.data(), line.size(), pipe.get()) != nullptr) {
    lines.emplace_back(line.data());
    lines.back().erase(lines.back().find_last_not_of('\n') + 1);
  }
  std::remove(path.c_str());
  return lines;
}

}  // namespace enclume::test
