// SPDX-License-Identifier: Apache-2.0
#include "cli/machine_secret.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "cli/failure.h"
#include "cli/file_descriptor.h"
#include "cli/user_directories.h"

namespace enclume::cli {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_errno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// Says whether the file is there; throws if it is there and is not a secret of ours.
bool check_existing(const std::string& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) {
    if (errno == ENOENT) return false;
    throw_errno("cannot read " + path);
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw_errno("cannot examine " + path);
  if (!S_ISREG(status.st_mode) || status.st_size != kSecretSize) {
    throw Failure(
        ExitStatus::kInternal,
        fmt::format("{} is not a machine secret (a file of {} bytes was expected); remove it to get a "
                    "new one, and with it keys that no longer open what was sealed before",
                    path, kSecretSize));
  }
  return true;
}

void write_all(int fd, const SecretBytes& bytes, const std::string& path) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_errno("cannot write " + path);
    done += static_cast<std::size_t>(count);
  }
}

}  // namespace

std::string machine_secret_path() {
  const auto state = user_directory("XDG_STATE_HOME", ".local/state");
  return state.empty() ? "" : state + "/enclume/machine-secret";
}

void ensure_machine_secret(const std::string& path) {
  if (check_existing(path)) return;
  make_directories(fs::path(path).parent_path().string());

  // Written whole under another name, then linked: link() fails if somebody was faster, and nobody ever sees
  // half a secret.
  std::string temporary = path + ".XXXXXX";
  const FileDescriptor file(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!file) throw_errno("cannot make " + temporary);
  try {
    write_all(file.get(), random_secret(), temporary);
    if (::fsync(file.get()) != 0) throw_errno("cannot write " + temporary);
    if (::link(temporary.c_str(), path.c_str()) != 0 && errno != EEXIST) throw_errno("cannot make " + path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  ::unlink(temporary.c_str());
  if (!check_existing(path)) throw_errno("cannot read " + path);
}

SecretBytes random_secret() {
  SecretBytes bytes{};
  // Requests of up to 256 bytes are never cut short once the pool is ready.
  ssize_t count = 0;
  do {
    count = ::getrandom(bytes.data(), bytes.size(), 0);
  } while (count < 0 && errno == EINTR);
  if (count != static_cast<ssize_t>(bytes.size())) throw_errno("no random bytes from the kernel");
  return bytes;
}

}  // namespace enclume::cli
