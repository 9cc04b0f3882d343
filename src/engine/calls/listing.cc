// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/listing.h"

#include <asm/unistd.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "base/syscall.h"
#include "base/types.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"

namespace enclume::engine {

namespace {

/// Entries as getdents64(2) writes them.
struct Entries {
  alignas(8) std::array<std::byte, 128> bytes{};
  std::size_t size = 0;

  void add(const DeviceNode& node) {
    struct stat st {};
    pose_as_device(node.device, st);
    // The next one is the directory's first, whatever its position is called.
    const std::uint64_t offset = 0;
    const auto length = static_cast<std::uint16_t>(
        align_up(std::uint64_t{offsetof(dirent64, d_name) + node.name.size() + 1}, alignof(dirent64)));
    const std::uint64_t inode = st.st_ino;
    const unsigned char type = DT_CHR;
    std::byte* const at = &bytes[size];
    std::memcpy(at + offsetof(dirent64, d_ino), &inode, sizeof(inode));
    std::memcpy(at + offsetof(dirent64, d_off), &offset, sizeof(offset));
    std::memcpy(at + offsetof(dirent64, d_reclen), &length, sizeof(length));
    std::memcpy(at + offsetof(dirent64, d_type), &type, sizeof(type));
    std::memcpy(at + offsetof(dirent64, d_name), node.name.data(), node.name.size());
    size += length;
  }
};

}  // namespace

bool is_dev(int fd) {
  struct stat here;
  struct stat dev;
  return sys::raw(__NR_fstat, fd, sys::arg(&here)) == 0 &&
         sys::raw(__NR_stat, sys::arg("/dev"), sys::arg(&dev)) == 0 && here.st_dev == dev.st_dev &&
         here.st_ino == dev.st_ino;
}

bool is_real(const DeviceNode& node) {
  struct stat st;
  return sys::raw(__NR_lstat, sys::arg(node.path), sys::arg(&st)) == 0;
}

std::optional<SysResult<long>> list_directory(const Call& call) {
  const int fd = call.as_int(0);
  if (!engine().active || sys::raw(__NR_lseek, fd, 0, SEEK_CUR) != 0 || !is_dev(fd)) {
    return std::nullopt;
  }
  Entries ours;
  for (const DeviceNode& node : kDeviceNodes) {
    if (!is_real(node)) {
      ours.add(node);
    }
  }
  const auto room = static_cast<std::uint32_t>(call.argument[2]);
  if (room <= ours.size) {
    return std::nullopt;
  }
  const auto rest = sys::call(__NR_getdents64, fd, call.argument[1] + ours.size, room - ours.size);
  if (!rest) {
    return rest;
  }
  if (enclume_guarded_copy(call.as_pointer<void>(1), ours.bytes.data(), ours.size) != 0) {
    return fail(Errno::Fault);
  }
  return static_cast<long>(ours.size) + *rest;
}

}  // namespace enclume::engine
