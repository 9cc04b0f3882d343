// SPDX-License-Identifier: Apache-2.0
// What the parts of process_test share.
#pragma once

#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

namespace enclume::test {

// What a shell command prints; its status in `status`.
inline std::string output_of(const std::string& command, int& status) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), [](FILE*) { return 0; });
  std::string text;
  char buffer[4096];
  while (const std::size_t got = fread(buffer, 1, sizeof buffer, pipe.get())) text.append(buffer, got);
  status = pclose(pipe.get());
  return text;
}

inline std::string file_contents(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace enclume::test
