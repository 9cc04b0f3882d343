// SPDX-License-Identifier: Apache-2.0
// read(), write() and their kin on the SGX devices, whose drivers have none of them (without this they would
// show the contents of the EPC), and on the process's own memory file (calls/memory_file.h).
#include <sys/uio.h>
#include <unistd.h>

#include <optional>

#include "engine/calls/devices.h"
#include "engine/calls/memory_file.h"
#include "engine/front/real.h"

namespace enclume::engine {

namespace {

/// Costs a load for descriptors that never were a device's.
bool refused(int fd) {
  if (!may_be_device(fd) || device_of(fd) == Device::None) {
    return false;
  }
  errno = EINVAL;
  return true;
}

/// What the engine answers itself; nothing if libc's function shall. Two loads for most descriptors.
std::optional<ssize_t> own_answer(int fd, void* data, std::size_t size, std::optional<std::uint64_t> offset,
                                  Transfer transfer) {
  if (refused(fd)) {
    return -1;
  }
  if (!may_be_memory_file(fd)) {
    return std::nullopt;
  }
  const auto done = memory_file_io(fd, data, size, offset, transfer);
  return done ? std::optional<ssize_t>(libc_result(*done)) : std::nullopt;
}

constexpr std::optional<std::uint64_t> kAtPosition = std::nullopt;

}  // namespace

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's

ENCLUME_EXPORT ssize_t read(int fd, void* data, size_t size) {
  static Real<ssize_t(int, void*, size_t)> real{"read"};
  const auto own = own_answer(fd, data, size, kAtPosition, Transfer::Read);
  return own ? *own : real(fd, data, size);
}
ENCLUME_EXPORT ssize_t write(int fd, const void* data, size_t size) {
  static Real<ssize_t(int, const void*, size_t)> real{"write"};
  const auto own = own_answer(fd, const_cast<void*>(data), size, kAtPosition, Transfer::Write);
  return own ? *own : real(fd, data, size);
}
ENCLUME_EXPORT ssize_t pread(int fd, void* data, size_t size, off_t offset) {
  static Real<ssize_t(int, void*, size_t, off_t)> real{"pread"};
  const auto own = own_answer(fd, data, size, static_cast<std::uint64_t>(offset), Transfer::Read);
  return own ? *own : real(fd, data, size, offset);
}
ENCLUME_EXPORT ssize_t pread64(int fd, void* data, size_t size, off64_t offset) {
  static Real<ssize_t(int, void*, size_t, off64_t)> real{"pread64"};
  const auto own = own_answer(fd, data, size, static_cast<std::uint64_t>(offset), Transfer::Read);
  return own ? *own : real(fd, data, size, offset);
}
ENCLUME_EXPORT ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  static Real<ssize_t(int, const void*, size_t, off_t)> real{"pwrite"};
  const auto own =
      own_answer(fd, const_cast<void*>(data), size, static_cast<std::uint64_t>(offset), Transfer::Write);
  return own ? *own : real(fd, data, size, offset);
}
ENCLUME_EXPORT ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  static Real<ssize_t(int, const void*, size_t, off64_t)> real{"pwrite64"};
  const auto own =
      own_answer(fd, const_cast<void*>(data), size, static_cast<std::uint64_t>(offset), Transfer::Write);
  return own ? *own : real(fd, data, size, offset);
}
ENCLUME_EXPORT ssize_t readv(int fd, const struct iovec* parts, int count) {
  static Real<ssize_t(int, const struct iovec*, int)> real{"readv"};
  return refused(fd) ? -1 : real(fd, parts, count);
}
ENCLUME_EXPORT ssize_t writev(int fd, const struct iovec* parts, int count) {
  static Real<ssize_t(int, const struct iovec*, int)> real{"writev"};
  return refused(fd) ? -1 : real(fd, parts, count);
}
