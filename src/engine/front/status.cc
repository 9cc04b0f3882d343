// SPDX-License-Identifier: Apache-2.0
// stat(), access() and their kin on the SGX devices.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "engine/calls/devices.h"
#include "engine/calls/status.h"
#include "engine/engine.h"
#include "engine/front/real.h"

namespace enclume::engine {

namespace {

/// Attributes of a device by its name: /dev/null's, with its own numbers.
bool status_of_path(int dirfd, const char* path, struct stat* st) {
  const Device device = device_of_path(dirfd, path);
  static Real<int(const char*, struct stat*)> real{"stat"};
  if (device == Device::None || real("/dev/null", st) != 0) {
    return false;
  }
  pose_as_device(device, *st);
  return true;
}

int finish_fstat(int result, int fd, struct stat* st) {
  if (result == 0 && engine().active && S_ISREG(st->st_mode)) {
    if (const Device device = device_of(fd); device != Device::None) {
      pose_as_device(device, *st);
    }
  }
  return result;
}

static_assert(sizeof(struct stat) == sizeof(struct stat64));

}  // namespace

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's

ENCLUME_EXPORT int stat(const char* path, struct stat* st) {
  static Real<int(const char*, struct stat*)> real{"stat"};
  return status_of_path(AT_FDCWD, path, st) ? 0 : real(path, st);
}
ENCLUME_EXPORT int stat64(const char* path, struct stat64* st) {
  static Real<int(const char*, struct stat64*)> real{"stat64"};
  return status_of_path(AT_FDCWD, path, reinterpret_cast<struct stat*>(st)) ? 0 : real(path, st);
}
ENCLUME_EXPORT int lstat(const char* path, struct stat* st) {
  static Real<int(const char*, struct stat*)> real{"lstat"};
  return status_of_path(AT_FDCWD, path, st) ? 0 : real(path, st);
}
ENCLUME_EXPORT int lstat64(const char* path, struct stat64* st) {
  static Real<int(const char*, struct stat64*)> real{"lstat64"};
  return status_of_path(AT_FDCWD, path, reinterpret_cast<struct stat*>(st)) ? 0 : real(path, st);
}
ENCLUME_EXPORT int fstat(int fd, struct stat* st) {
  static Real<int(int, struct stat*)> real{"fstat"};
  return finish_fstat(real(fd, st), fd, st);
}
ENCLUME_EXPORT int fstat64(int fd, struct stat64* st) {
  static Real<int(int, struct stat64*)> real{"fstat64"};
  return finish_fstat(real(fd, st), fd, reinterpret_cast<struct stat*>(st));
}
ENCLUME_EXPORT int fstatat(int dirfd, const char* path, struct stat* st, int flags) {
  static Real<int(int, const char*, struct stat*, int)> real{"fstatat"};
  return status_of_path(dirfd, path, st) ? 0 : real(dirfd, path, st, flags);
}
ENCLUME_EXPORT int fstatat64(int dirfd, const char* path, struct stat64* st, int flags) {
  static Real<int(int, const char*, struct stat64*, int)> real{"fstatat64"};
  return status_of_path(dirfd, path, reinterpret_cast<struct stat*>(st)) ? 0 : real(dirfd, path, st, flags);
}
// What programs built against glibc before 2.33 call.
ENCLUME_EXPORT int __xstat(int version, const char* path, struct stat* st) {
  static Real<int(int, const char*, struct stat*)> real{"__xstat"};
  return status_of_path(AT_FDCWD, path, st) ? 0 : real(version, path, st);
}
ENCLUME_EXPORT int __lxstat(int version, const char* path, struct stat* st) {
  static Real<int(int, const char*, struct stat*)> real{"__lxstat"};
  return status_of_path(AT_FDCWD, path, st) ? 0 : real(version, path, st);
}
ENCLUME_EXPORT int __fxstat(int version, int fd, struct stat* st) {
  static Real<int(int, int, struct stat*)> real{"__fxstat"};
  return finish_fstat(real(version, fd, st), fd, st);
}
ENCLUME_EXPORT int statx(int dirfd, const char* path, int flags, unsigned mask, struct statx* st) {
  static Real<int(int, const char*, int, unsigned, struct statx*)> real{"statx"};
  struct stat plain;
  if (!status_of_path(dirfd, path, &plain)) {
    return real(dirfd, path, flags, mask, st);
  }
  const int result = real(AT_FDCWD, "/dev/null", flags & ~AT_EMPTY_PATH, mask, st);
  if (result == 0) {
    st->stx_mode = static_cast<decltype(st->stx_mode)>(plain.st_mode);
    st->stx_rdev_major = major(plain.st_rdev);
    st->stx_rdev_minor = minor(plain.st_rdev);
    st->stx_ino = plain.st_ino;
  }
  return result;
}

ENCLUME_EXPORT int access(const char* path, int mode) {
  static Real<int(const char*, int)> real{"access"};
  const Device device = device_of_path(AT_FDCWD, path);
  return device != Device::None ? static_cast<int>(libc_result(access_device(device, mode)))
                                : real(path, mode);
}
ENCLUME_EXPORT int eaccess(const char* path, int mode) {
  static Real<int(const char*, int)> real{"eaccess"};
  const Device device = device_of_path(AT_FDCWD, path);
  return device != Device::None ? static_cast<int>(libc_result(access_device(device, mode)))
                                : real(path, mode);
}
ENCLUME_EXPORT int euidaccess(const char* path, int mode) {
  static Real<int(const char*, int)> real{"euidaccess"};
  const Device device = device_of_path(AT_FDCWD, path);
  return device != Device::None ? static_cast<int>(libc_result(access_device(device, mode)))
                                : real(path, mode);
}
ENCLUME_EXPORT int faccessat(int dirfd, const char* path, int mode, int flags) {
  static Real<int(int, const char*, int, int)> real{"faccessat"};
  const Device device = device_of_path(dirfd, path);
  return device != Device::None ? static_cast<int>(libc_result(access_device(device, mode)))
                                : real(dirfd, path, mode, flags);
}
