// SPDX-License-Identifier: Apache-2.0
#include "cli/user_directories.h"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace enclume::cli {
namespace {

namespace fs = std::filesystem;

// An absolute path from the environment, or empty: the XDG specification says to ignore relative ones.
std::string absolute_from_environment(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && value[0] == '/' ? value : "";
}

std::string home_directory() {
  if (auto home = absolute_from_environment("HOME"); !home.empty()) return home;
  const passwd* entry = ::getpwuid(::getuid());
  return entry != nullptr && entry->pw_dir != nullptr && entry->pw_dir[0] == '/' ? entry->pw_dir : "";
}

}  // namespace

void make_directories(const std::string& directory) {
  fs::path so_far;
  for (const auto& part : fs::path(directory)) {
    so_far /= part;
    if (::mkdir(so_far.c_str(), 0700) == 0 || errno == EEXIST) continue;
    // A read-only or unreadable parent that already exists fails in other ways than EEXIST.
    const int error = errno;
    struct stat status {};
    if (::stat(so_far.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) continue;
    throw std::system_error(error, std::generic_category(), "cannot make the directory " + so_far.string());
  }
}

std::string user_directory(const char* variable, const char* below_home) {
  if (auto named = absolute_from_environment(variable); !named.empty()) return named;
  const auto home = home_directory();
  return home.empty() ? "" : home + "/" + below_home;
}

namespace {

// Each build of the engine leaves files of its own for each build of each library. The size of the directory
// itself tells when there are thousands, which is too many to be of use; on no file system is it below their
// names' length by much.
void empty_if_large(const std::string& directory) {
  constexpr off_t kLarge = 64 << 10;
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0 || status.st_size < kLarge) return;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (entry.path().filename().string().starts_with("code-")) fs::remove(entry.path(), error);
  }
}

}  // namespace

std::optional<std::string> cache_directory() {
  const auto caches = user_directory("XDG_CACHE_HOME", ".cache");
  if (caches.empty()) return std::nullopt;
  const auto directory = caches + "/enclume";
  try {
    make_directories(directory);
    empty_if_large(directory);
  } catch (const std::system_error&) {
    return std::nullopt;
  }
  return directory;
}

}  // namespace enclume::cli
