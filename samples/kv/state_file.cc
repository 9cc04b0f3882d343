// SPDX-License-Identifier: Apache-2.0
#include "state_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

namespace kv {
namespace {

bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

bool write_file(const std::string& path, std::span<const std::byte> bytes) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const bool good = write_all(fd, bytes) && fsync(fd) == 0;
  return close(fd) == 0 && good;
}

// A new name is on the disk when its directory is.
bool sync_directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool good = fsync(fd) == 0;
  close(fd);
  return good;
}

}  // namespace

std::expected<StateFile, int> StateFile::at(std::string path) {
  const int lock = open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) return std::unexpected(errno);
  StateFile result(std::move(path), lock);
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) return std::unexpected(errno);
  return result;
}

StateFile::StateFile(StateFile&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)), last_(other.last_) {}

StateFile::~StateFile() {
  if (lock_ >= 0) close(lock_);
}

std::expected<std::optional<std::vector<std::byte>>, int> StateFile::read() const {
  const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return std::nullopt;
  if (fd < 0) return std::unexpected(errno);
  std::vector<std::byte> bytes;
  ssize_t n = 0;
  do {
    const std::size_t have = bytes.size();
    bytes.resize(have + 65536);
    n = ::read(fd, bytes.data() + have, 65536);
    bytes.resize(have + (n > 0 ? static_cast<std::size_t>(n) : 0));
  } while (n > 0 || (n < 0 && errno == EINTR));
  const int error = errno;
  close(fd);
  if (n < 0) return std::unexpected(error);
  return bytes;
}

bool StateFile::replace(std::uint64_t number, std::span<const std::byte> bytes) {
  const std::scoped_lock guard(mutex_);
  if (number <= last_) return true;
  const std::string fresh = path_ + ".new";
  if (!write_file(fresh, bytes) || std::rename(fresh.c_str(), path_.c_str()) != 0 ||
      !sync_directory_of(path_)) {
    return false;
  }
  last_ = number;
  return true;
}

}  // namespace kv
