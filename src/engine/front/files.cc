// SPDX-License-Identifier: Apache-2.0
// Opening and looking at files: the SGX devices that this machine does not have, and the few files in /proc
// that say what it has.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdarg>
#include <cstring>

#include "engine/calls/files.h"
#include "engine/front/real.h"

namespace enclume::engine {

namespace {

constexpr int kNotOurs = -2;

/// What the engine has of its own under this name: a descriptor, -1 with errno, or kNotOurs.
int open_here(int dirfd, const char* path, int flags) {
  const auto fd = open_own(dirfd, path, flags);
  return fd ? static_cast<int>(libc_result(*fd)) : kNotOurs;
}

bool needs_mode(int flags) {
  return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
}

Real<int(const char*, int, ...)> real_open{"open"};
Real<int(const char*, int, ...)> real_open64{"open64"};
Real<int(int, const char*, int, ...)> real_openat{"openat"};
Real<int(int, const char*, int, ...)> real_openat64{"openat64"};
Real<int(const char*, int)> real_open_2{"__open_2"};
Real<int(const char*, int)> real_open64_2{"__open64_2"};
Real<int(int, const char*, int)> real_openat_2{"__openat_2"};
Real<int(int, const char*, int)> real_openat64_2{"__openat64_2"};
Real<FILE*(const char*, const char*)> real_fopen{"fopen"};
Real<FILE*(const char*, const char*)> real_fopen64{"fopen64"};
Real<int(int)> real_close{"close"};

FILE* open_stream(Real<FILE*(const char*, const char*)>& real, const char* path, const char* mode) {
  if (path != nullptr && mode != nullptr && mode[0] == 'r') {
    const int fd =
        open_here(AT_FDCWD, path, std::strchr(mode, 'e') != nullptr ? O_RDONLY | O_CLOEXEC : O_RDONLY);
    if (fd == -1) {
      return nullptr;
    }
    if (fd != kNotOurs) {
      return fdopen(fd, mode);
    }
  }
  return real(path, mode);
}

SysResult<long> close_by_libc(int fd) {
  return real_close(fd) == 0 ? SysResult<long>(0L) : fail(static_cast<Errno>(errno));
}

}  // namespace

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's

#define ENCLUME_MODE(last)            \
  mode_t mode = 0;                    \
  if (needs_mode(flags)) {            \
    va_list arguments;                \
    va_start(arguments, last);        \
    mode = va_arg(arguments, mode_t); \
    va_end(arguments);                \
  }

ENCLUME_EXPORT int open(const char* path, int flags, ...) {
  ENCLUME_MODE(flags)
  const int fd = open_here(AT_FDCWD, path, flags);
  return fd == kNotOurs ? real_open(path, flags, mode) : fd;
}
ENCLUME_EXPORT int open64(const char* path, int flags, ...) {
  ENCLUME_MODE(flags)
  const int fd = open_here(AT_FDCWD, path, flags);
  return fd == kNotOurs ? real_open64(path, flags, mode) : fd;
}
ENCLUME_EXPORT int openat(int dirfd, const char* path, int flags, ...) {
  ENCLUME_MODE(flags)
  const int fd = open_here(dirfd, path, flags);
  return fd == kNotOurs ? real_openat(dirfd, path, flags, mode) : fd;
}
ENCLUME_EXPORT int openat64(int dirfd, const char* path, int flags, ...) {
  ENCLUME_MODE(flags)
  const int fd = open_here(dirfd, path, flags);
  return fd == kNotOurs ? real_openat64(dirfd, path, flags, mode) : fd;
}
// What programs built with _FORTIFY_SOURCE call.
ENCLUME_EXPORT int __open_2(const char* path, int flags) {
  const int fd = open_here(AT_FDCWD, path, flags);
  return fd == kNotOurs ? real_open_2(path, flags) : fd;
}
ENCLUME_EXPORT int __open64_2(const char* path, int flags) {
  const int fd = open_here(AT_FDCWD, path, flags);
  return fd == kNotOurs ? real_open64_2(path, flags) : fd;
}
ENCLUME_EXPORT int __openat_2(int dirfd, const char* path, int flags) {
  const int fd = open_here(dirfd, path, flags);
  return fd == kNotOurs ? real_openat_2(dirfd, path, flags) : fd;
}
ENCLUME_EXPORT int __openat64_2(int dirfd, const char* path, int flags) {
  const int fd = open_here(dirfd, path, flags);
  return fd == kNotOurs ? real_openat64_2(dirfd, path, flags) : fd;
}
ENCLUME_EXPORT FILE* fopen(const char* path, const char* mode) {
  return open_stream(real_fopen, path, mode);
}
ENCLUME_EXPORT FILE* fopen64(const char* path, const char* mode) {
  return open_stream(real_fopen64, path, mode);
}

ENCLUME_EXPORT int close(int fd) {
  return static_cast<int>(libc_result(close_own(fd, &close_by_libc)));
}
