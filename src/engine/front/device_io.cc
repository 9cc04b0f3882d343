// SPDX-License-Identifier: Apache-2.0
// read(), write() and their kin on the SGX devices: the drivers have none of them. Without this they would
// show the contents of the EPC.
#include <sys/uio.h>
#include <unistd.h>

#include "engine/front/devices.h"
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

}  // namespace

}  // namespace enclume::engine

using enclume::engine::Real;
using enclume::engine::refused;

ENCLUME_EXPORT ssize_t read(int fd, void* data, size_t size) {
  static Real<ssize_t(int, void*, size_t)> real{"read"};
  return refused(fd) ? -1 : real(fd, data, size);
}
ENCLUME_EXPORT ssize_t write(int fd, const void* data, size_t size) {
  static Real<ssize_t(int, const void*, size_t)> real{"write"};
  return refused(fd) ? -1 : real(fd, data, size);
}
ENCLUME_EXPORT ssize_t pread(int fd, void* data, size_t size, off_t offset) {
  static Real<ssize_t(int, void*, size_t, off_t)> real{"pread"};
  return refused(fd) ? -1 : real(fd, data, size, offset);
}
ENCLUME_EXPORT ssize_t pread64(int fd, void* data, size_t size, off64_t offset) {
  static Real<ssize_t(int, void*, size_t, off64_t)> real{"pread64"};
  return refused(fd) ? -1 : real(fd, data, size, offset);
}
ENCLUME_EXPORT ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  static Real<ssize_t(int, const void*, size_t, off_t)> real{"pwrite"};
  return refused(fd) ? -1 : real(fd, data, size, offset);
}
ENCLUME_EXPORT ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  static Real<ssize_t(int, const void*, size_t, off64_t)> real{"pwrite64"};
  return refused(fd) ? -1 : real(fd, data, size, offset);
}
ENCLUME_EXPORT ssize_t readv(int fd, const struct iovec* parts, int count) {
  static Real<ssize_t(int, const struct iovec*, int)> real{"readv"};
  return refused(fd) ? -1 : real(fd, parts, count);
}
ENCLUME_EXPORT ssize_t writev(int fd, const struct iovec* parts, int count) {
  static Real<ssize_t(int, const struct iovec*, int)> real{"writev"};
  return refused(fd) ? -1 : real(fd, parts, count);
}
