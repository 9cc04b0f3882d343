// SPDX-License-Identifier: Apache-2.0
// stat(), access() and their kin on the SGX devices: calls/status.h answers.
#include "engine/calls/status.h"

#include <asm/unistd.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/front/real.h"

namespace enclume::engine {

namespace {

/// The answer to a system call, or else what libc's function gives.
template <typename Function, typename... Arguments>
int own_or(const Call& call, Real<Function>& real, Arguments... arguments) {
  if (engine().active) {
    if (const auto own = status_of_device(call)) {
      return static_cast<int>(libc_result(*own));
    }
  }
  return real(arguments...);
}

/// fstat() is called often, and the device's files are known by what it says.
int finish_fstat(int result, struct stat* st) {
  if (result == 0) {
    pose_if_device(*st);
  }
  return result;
}

static_assert(sizeof(struct stat) == sizeof(struct stat64));

}  // namespace

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's

ENCLUME_EXPORT int stat(const char* path, struct stat* st) {
  static Real<int(const char*, struct stat*)> real{"stat"};
  return own_or(make_call(__NR_stat, path, st), real, path, st);
}
ENCLUME_EXPORT int stat64(const char* path, struct stat64* st) {
  static Real<int(const char*, struct stat64*)> real{"stat64"};
  return own_or(make_call(__NR_stat, path, st), real, path, st);
}
ENCLUME_EXPORT int lstat(const char* path, struct stat* st) {
  static Real<int(const char*, struct stat*)> real{"lstat"};
  return own_or(make_call(__NR_lstat, path, st), real, path, st);
}
ENCLUME_EXPORT int lstat64(const char* path, struct stat64* st) {
  static Real<int(const char*, struct stat64*)> real{"lstat64"};
  return own_or(make_call(__NR_lstat, path, st), real, path, st);
}
ENCLUME_EXPORT int fstat(int fd, struct stat* st) {
  static Real<int(int, struct stat*)> real{"fstat"};
  return finish_fstat(real(fd, st), st);
}
ENCLUME_EXPORT int fstat64(int fd, struct stat64* st) {
  static Real<int(int, struct stat64*)> real{"fstat64"};
  return finish_fstat(real(fd, st), reinterpret_cast<struct stat*>(st));
}
ENCLUME_EXPORT int fstatat(int dirfd, const char* path, struct stat* st, int flags) {
  static Real<int(int, const char*, struct stat*, int)> real{"fstatat"};
  return own_or(make_call(__NR_newfstatat, dirfd, path, st, flags), real, dirfd, path, st, flags);
}
ENCLUME_EXPORT int fstatat64(int dirfd, const char* path, struct stat64* st, int flags) {
  static Real<int(int, const char*, struct stat64*, int)> real{"fstatat64"};
  return own_or(make_call(__NR_newfstatat, dirfd, path, st, flags), real, dirfd, path, st, flags);
}
// What programs built against glibc before 2.33 call.
ENCLUME_EXPORT int __xstat(int version, const char* path, struct stat* st) {
  static Real<int(int, const char*, struct stat*)> real{"__xstat"};
  return own_or(make_call(__NR_stat, path, st), real, version, path, st);
}
ENCLUME_EXPORT int __lxstat(int version, const char* path, struct stat* st) {
  static Real<int(int, const char*, struct stat*)> real{"__lxstat"};
  return own_or(make_call(__NR_lstat, path, st), real, version, path, st);
}
ENCLUME_EXPORT int __fxstat(int version, int fd, struct stat* st) {
  static Real<int(int, int, struct stat*)> real{"__fxstat"};
  return finish_fstat(real(version, fd, st), st);
}
ENCLUME_EXPORT int __fxstatat(int version, int dirfd, const char* path, struct stat* st, int flags) {
  static Real<int(int, int, const char*, struct stat*, int)> real{"__fxstatat"};
  return own_or(make_call(__NR_newfstatat, dirfd, path, st, flags), real, version, dirfd, path, st, flags);
}
ENCLUME_EXPORT int statx(int dirfd, const char* path, int flags, unsigned mask, struct statx* st) {
  static Real<int(int, const char*, int, unsigned, struct statx*)> real{"statx"};
  return own_or(make_call(__NR_statx, dirfd, path, flags, mask, st), real, dirfd, path, flags, mask, st);
}

ENCLUME_EXPORT int access(const char* path, int mode) {
  static Real<int(const char*, int)> real{"access"};
  return own_or(make_call(__NR_access, path, mode), real, path, mode);
}
ENCLUME_EXPORT int eaccess(const char* path, int mode) {
  static Real<int(const char*, int)> real{"eaccess"};
  return own_or(make_call(__NR_access, path, mode), real, path, mode);
}
ENCLUME_EXPORT int euidaccess(const char* path, int mode) {
  static Real<int(const char*, int)> real{"euidaccess"};
  return own_or(make_call(__NR_access, path, mode), real, path, mode);
}
ENCLUME_EXPORT int faccessat(int dirfd, const char* path, int mode, int flags) {
  static Real<int(int, const char*, int, int)> real{"faccessat"};
  return own_or(make_call(__NR_faccessat, dirfd, path, mode), real, dirfd, path, mode, flags);
}
