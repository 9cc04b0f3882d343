// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/cache_directory.h"

#include <fcntl.h>
#include <linux/resource.h>
#include <sys/stat.h>

#include "base/format.h"
#include "base/syscall.h"

namespace enclume::engine {
namespace {

constexpr int kRead = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;

// A write beyond RLIMIT_FSIZE would be the program's death by SIGXFSZ.
bool may_write_files() noexcept {
  struct {
    std::uint64_t soft, hard;
  } limit{};
  return sys::raw(__NR_prlimit64, 0, RLIMIT_FSIZE, 0, sys::arg(&limit)) == 0 &&
         limit.soft == ~std::uint64_t{0};
}

bool write_whole(int fd, std::span<const std::byte> data) noexcept {
  while (!data.empty()) {
    const long n = sys::raw(__NR_write, fd, sys::arg(data.data()), sys::arg(data.size()));
    if (n == -EINTR) {
      continue;
    }
    if (n <= 0) {
      return false;
    }
    data = data.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

/// struct iovec, whose header does not go with <linux/resource.h>.
struct IoVector {
  std::byte* base;
  std::size_t size;
};

bool is_own_file(int fd) noexcept {
  struct stat status;
  return sys::raw(__NR_fstat, fd, sys::arg(&status)) == 0 && S_ISREG(status.st_mode) &&
         (status.st_mode & (S_IWGRP | S_IWOTH)) == 0 &&
         static_cast<long>(status.st_uid) == sys::raw(__NR_geteuid);
}

}  // namespace

bool CacheDirectory::path_of(std::string_view name, std::string_view suffix,
                             std::span<char> out) const noexcept {
  LineBuffer line(out);
  line.text(path_).text("/").text(name).text(suffix).text(std::string_view("\0", 1));
  return !path_.empty() && !line.truncated();
}

SysResult<long> CacheDirectory::open(std::string_view name) const noexcept {
  std::array<char, 256> path;
  if (!path_of(name, {}, path)) {
    return open_long(name);
  }
  return sys::call(__NR_openat, AT_FDCWD, path.data(), kRead);
}

// Apart, since the path takes a page of the stack.
[[gnu::noinline]] SysResult<long> CacheDirectory::open_long(std::string_view name) const noexcept {
  Path path;
  if (!path_of(name, {}, path)) {
    return fail(Errno::NoEntry);
  }
  return sys::call(__NR_openat, AT_FDCWD, path.data(), kRead);
}

std::size_t CacheDirectory::read(std::string_view name, std::span<std::byte> out) const noexcept {
  return read(name, out, {});
}

std::size_t CacheDirectory::read(std::string_view name, std::span<std::byte> out,
                                 std::span<std::byte> code) const noexcept {
  const auto fd = open(name);
  if (!fd) {
    return 0;
  }
  const bool takes_code = !code.empty() && is_own_file(static_cast<int>(*fd));
  const std::array<IoVector, 2> parts{{{out.data(), out.size()}, {code.data(), code.size()}}};
  const long n = sys::raw(__NR_readv, *fd, sys::arg(parts.data()), takes_code ? 2 : 1);
  sys::raw(__NR_close, *fd);
  return n > 0 ? static_cast<std::size_t>(n) : 0;
}

void CacheDirectory::write(std::string_view name, std::span<const std::byte> data,
                           std::span<const std::byte> more) const noexcept {
  Path path;
  Path temporary;
  std::array<char, 32> suffix;
  LineBuffer number(suffix);
  number.text(".").dec(sys::getpid());
  if (!path_of(name, {}, path) || !path_of(name, number.view(), temporary) || !may_write_files()) {
    return;
  }
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
  const auto fd = sys::call(__NR_openat, AT_FDCWD, temporary.data(), kFlags, 0600);
  if (!fd) {
    return;
  }
  const bool whole = write_whole(static_cast<int>(*fd), data) && write_whole(static_cast<int>(*fd), more);
  sys::raw(__NR_close, *fd);
  if (!whole || !sys::call(__NR_renameat, AT_FDCWD, temporary.data(), AT_FDCWD, path.data())) {
    sys::raw(__NR_unlinkat, AT_FDCWD, sys::arg(temporary.data()), 0);
  }
}

}  // namespace enclume::engine
