// SPDX-License-Identifier: Apache-2.0
#include "cli/whole_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "cli/failure.h"
#include "cli/file_descriptor.h"

namespace enclume::cli {

std::vector<std::byte> read_file(std::string_view verb, const std::string& name) {
  const auto fail = [&](const char* why) {
    throw Failure(ExitStatus::kUsage, fmt::format("{}: cannot read {}: {}", verb, name, why));
  };
  std::error_code error;
  if (std::filesystem::is_directory(name, error)) fail("it is a directory");
  errno = 0;
  std::ifstream file(name, std::ios::binary);
  if (!file.is_open()) fail(std::strerror(errno));
  constexpr std::size_t kStep = std::size_t{1} << 20;
  // Some files have no end.
  constexpr std::size_t kLimit = std::size_t{1} << 30;
  std::vector<std::byte> bytes;
  while (file) {
    const auto done = bytes.size();
    if (done >= kLimit) fail(std::strerror(EFBIG));
    bytes.resize(done + kStep);
    file.read(reinterpret_cast<char*>(bytes.data() + done), kStep);
    bytes.resize(done + static_cast<std::size_t>(file.gcount()));
  }
  if (file.bad()) fail(std::strerror(errno));
  return bytes;
}

void write_file(std::string_view verb, const std::string& name, std::span<const std::byte> bytes,
                unsigned mode) {
  const std::string temporary = fmt::format("{}.{}", name, getpid());
  const auto fail = [&] {
    const int error = errno;
    unlink(temporary.c_str());
    throw Failure(ExitStatus::kUsage,
                  fmt::format("{}: cannot write {}: {}", verb, name, std::strerror(error)));
  };
  const FileDescriptor file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!file) fail();
  while (!bytes.empty()) {
    const ssize_t done = write(file.get(), bytes.data(), bytes.size());
    if (done < 0) fail();
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
  if (std::rename(temporary.c_str(), name.c_str()) != 0) fail();
}

}  // namespace enclume::cli
