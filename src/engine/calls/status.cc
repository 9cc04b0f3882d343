// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/status.h"

#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/syscall.h"
#include "engine/calls/user_memory.h"

namespace enclume::engine {

namespace {

using Answer = std::optional<SysResult<long>>;

/// /dev/null has all that a device file has; its numbers become the device's.
constexpr const char* kModel = "/dev/null";

Device device_by_name(int dirfd, const char* path) {
  const UserPath name(path);
  return name ? device_of_path(dirfd, name.text()) : Device::None;
}

Answer stat_by_name(int dirfd, const char* path, std::uint64_t out) {
  const Device device = device_by_name(dirfd, path);
  if (device == Device::None) {
    return std::nullopt;
  }
  struct stat st;
  if (const auto r = sys::call(__NR_stat, kModel, &st); !r) {
    return r;
  }
  pose_as_device(device, st);
  return write_user(out, st) ? Answer(0L) : fail(Errno::Fault);
}

Answer stat_descriptor(int fd, std::uint64_t out) {
  struct stat st;
  if (!sys::call(__NR_fstat, fd, &st) || !pose_if_device(st)) {
    return std::nullopt;
  }
  return write_user(out, st) ? Answer(0L) : fail(Errno::Fault);
}

/// Whether the call is about the descriptor itself: an empty name and AT_EMPTY_PATH.
bool is_about_descriptor(const char* path, int flags) {
  char first = 1;
  return (flags & AT_EMPTY_PATH) != 0 &&
         (path == nullptr || (read_user(first, reinterpret_cast<std::uint64_t>(path)) && first == '\0'));
}

Answer extended_status(const Call& call) {
  const auto* path = call.as_pointer<const char>(1);
  Device device = Device::None;
  if (is_about_descriptor(path, call.as_int(2))) {
    device = device_of(call.as_int(0));
  } else {
    device = device_by_name(call.as_int(0), path);
  }
  if (device == Device::None) {
    return std::nullopt;
  }
  struct statx st;
  if (const auto r =
          sys::call(__NR_statx, AT_FDCWD, kModel, call.as_int(2) & ~AT_EMPTY_PATH, call.as_int(3), &st);
      !r) {
    return r;
  }
  struct stat plain {};
  pose_as_device(device, plain);
  st.stx_mode = static_cast<__u16>(plain.st_mode);
  st.stx_ino = plain.st_ino;
  st.stx_rdev_major = static_cast<__u32>(plain.st_rdev >> 8);
  st.stx_rdev_minor = static_cast<__u32>(plain.st_rdev & 0xff);
  return write_user(call.argument[4], st) ? Answer(0L) : fail(Errno::Fault);
}

/// Everybody may read and write the enclave device, nobody may execute it.
SysResult<long> access_device(Device device, int mode) {
  if ((mode & ~(R_OK | W_OK | X_OK)) != 0) {
    return fail(Errno::Invalid);
  }
  const bool provision = device == Device::Provision && (mode & (R_OK | W_OK)) != 0;
  if ((mode & X_OK) != 0 || (provision && sys::raw(__NR_geteuid) != 0)) {
    return fail(Errno::Access);
  }
  return 0L;
}

Answer access_by_name(int dirfd, const char* path, int mode) {
  const Device device = device_by_name(dirfd, path);
  return device != Device::None ? Answer(access_device(device, mode)) : std::nullopt;
}

/// The devices are no links.
Answer link_by_name(int dirfd, const char* path) {
  return device_by_name(dirfd, path) != Device::None ? Answer(fail(Errno::Invalid)) : std::nullopt;
}

}  // namespace

Answer status_of_device(const Call& call) {
  switch (call.number) {
    case __NR_stat:
    case __NR_lstat:
      return stat_by_name(AT_FDCWD, call.as_pointer<const char>(0), call.argument[1]);
    case __NR_fstat:
      return stat_descriptor(call.as_int(0), call.argument[1]);
    case __NR_newfstatat:
      return is_about_descriptor(call.as_pointer<const char>(1), call.as_int(3))
                 ? stat_descriptor(call.as_int(0), call.argument[2])
                 : stat_by_name(call.as_int(0), call.as_pointer<const char>(1), call.argument[2]);
    case __NR_statx:
      return extended_status(call);
    case __NR_readlink:
      return link_by_name(AT_FDCWD, call.as_pointer<const char>(0));
    case __NR_readlinkat:
      return link_by_name(call.as_int(0), call.as_pointer<const char>(1));
    case __NR_access:
      return access_by_name(AT_FDCWD, call.as_pointer<const char>(0), call.as_int(1));
    case __NR_faccessat:
    case __NR_faccessat2:
      return access_by_name(call.as_int(0), call.as_pointer<const char>(1), call.as_int(2));
    default:
      return std::nullopt;
  }
}

}  // namespace enclume::engine
