// SPDX-License-Identifier: Apache-2.0
// read(), write() and what else is done with the contents of a file, on the SGX devices, whose drivers have
// nothing of the kind (without this they would show the contents of the EPC, or discard them), and on the
// process's own memory file: calls/call.h answers.
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/calls/call.h"
#include "engine/calls/devices.h"
#include "engine/calls/memory_file.h"
#include "engine/front/real.h"

namespace enclume::engine {

namespace {

/// The answer to a system call on the descriptor, or else what libc's function gives. Two loads for most
/// descriptors.
template <typename Function, typename... Arguments>
ssize_t own_or(const Call& call, Real<Function>& real, Arguments... arguments) {
  const int fd = call.as_int(0);
  if (may_be_device(fd) || may_be_memory_file(fd)) [[unlikely]] {
    if (const auto own = own_answer(call)) {
      return libc_result(*own);
    }
  }
  return real(arguments...);
}

/// The same for a call between two descriptors, arguments 0 and `other`.
template <typename Function, typename... Arguments>
ssize_t own_between(const Call& call, std::size_t other, Real<Function>& real, Arguments... arguments) {
  if (may_be_device(call.as_int(0)) || may_be_device(call.as_int(other))) [[unlikely]] {
    if (const auto own = own_answer(call)) {
      return libc_result(*own);
    }
  }
  return real(arguments...);
}

}  // namespace

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's

ENCLUME_EXPORT ssize_t read(int fd, void* data, size_t size) {
  static Real<ssize_t(int, void*, size_t)> real{"read"};
  return own_or(make_call(__NR_read, fd, data, size), real, fd, data, size);
}
ENCLUME_EXPORT ssize_t write(int fd, const void* data, size_t size) {
  static Real<ssize_t(int, const void*, size_t)> real{"write"};
  return own_or(make_call(__NR_write, fd, data, size), real, fd, data, size);
}
ENCLUME_EXPORT ssize_t pread(int fd, void* data, size_t size, off_t offset) {
  static Real<ssize_t(int, void*, size_t, off_t)> real{"pread"};
  return own_or(make_call(__NR_pread64, fd, data, size, offset), real, fd, data, size, offset);
}
ENCLUME_EXPORT ssize_t pread64(int fd, void* data, size_t size, off64_t offset) {
  static Real<ssize_t(int, void*, size_t, off64_t)> real{"pread64"};
  return own_or(make_call(__NR_pread64, fd, data, size, offset), real, fd, data, size, offset);
}
ENCLUME_EXPORT ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  static Real<ssize_t(int, const void*, size_t, off_t)> real{"pwrite"};
  return own_or(make_call(__NR_pwrite64, fd, data, size, offset), real, fd, data, size, offset);
}
ENCLUME_EXPORT ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  static Real<ssize_t(int, const void*, size_t, off64_t)> real{"pwrite64"};
  return own_or(make_call(__NR_pwrite64, fd, data, size, offset), real, fd, data, size, offset);
}
// What programs built with _FORTIFY_SOURCE call. What is too long for its buffer is libc's to find.
ENCLUME_EXPORT ssize_t __read_chk(int fd, void* data, size_t size, size_t room) {
  static Real<ssize_t(int, void*, size_t, size_t)> real{"__read_chk"};
  return size <= room ? own_or(make_call(__NR_read, fd, data, size), real, fd, data, size, room)
                      : real(fd, data, size, room);
}
ENCLUME_EXPORT ssize_t __pread_chk(int fd, void* data, size_t size, off_t offset, size_t room) {
  static Real<ssize_t(int, void*, size_t, off_t, size_t)> real{"__pread_chk"};
  return size <= room
             ? own_or(make_call(__NR_pread64, fd, data, size, offset), real, fd, data, size, offset, room)
             : real(fd, data, size, offset, room);
}
ENCLUME_EXPORT ssize_t __pread64_chk(int fd, void* data, size_t size, off64_t offset, size_t room) {
  static Real<ssize_t(int, void*, size_t, off64_t, size_t)> real{"__pread64_chk"};
  return size <= room
             ? own_or(make_call(__NR_pread64, fd, data, size, offset), real, fd, data, size, offset, room)
             : real(fd, data, size, offset, room);
}

ENCLUME_EXPORT ssize_t readv(int fd, const struct iovec* parts, int count) {
  static Real<ssize_t(int, const struct iovec*, int)> real{"readv"};
  return own_or(make_call(__NR_readv, fd, parts, count), real, fd, parts, count);
}
ENCLUME_EXPORT ssize_t writev(int fd, const struct iovec* parts, int count) {
  static Real<ssize_t(int, const struct iovec*, int)> real{"writev"};
  return own_or(make_call(__NR_writev, fd, parts, count), real, fd, parts, count);
}

ENCLUME_EXPORT off_t lseek(int fd, off_t offset, int whence) noexcept {
  static Real<off_t(int, off_t, int)> real{"lseek"};
  return own_or(make_call(__NR_lseek, fd, offset, whence), real, fd, offset, whence);
}
ENCLUME_EXPORT off64_t lseek64(int fd, off64_t offset, int whence) noexcept {
  static Real<off64_t(int, off64_t, int)> real{"lseek64"};
  return own_or(make_call(__NR_lseek, fd, offset, whence), real, fd, offset, whence);
}
ENCLUME_EXPORT int ftruncate(int fd, off_t length) noexcept {
  static Real<int(int, off_t)> real{"ftruncate"};
  return static_cast<int>(own_or(make_call(__NR_ftruncate, fd, length), real, fd, length));
}
ENCLUME_EXPORT int ftruncate64(int fd, off64_t length) noexcept {
  static Real<int(int, off64_t)> real{"ftruncate64"};
  return static_cast<int>(own_or(make_call(__NR_ftruncate, fd, length), real, fd, length));
}
ENCLUME_EXPORT int fallocate(int fd, int mode, off_t offset, off_t length) {
  static Real<int(int, int, off_t, off_t)> real{"fallocate"};
  return static_cast<int>(
      own_or(make_call(__NR_fallocate, fd, mode, offset, length), real, fd, mode, offset, length));
}
ENCLUME_EXPORT int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  static Real<int(int, int, off64_t, off64_t)> real{"fallocate64"};
  return static_cast<int>(
      own_or(make_call(__NR_fallocate, fd, mode, offset, length), real, fd, mode, offset, length));
}
ENCLUME_EXPORT int fsync(int fd) {
  static Real<int(int)> real{"fsync"};
  return static_cast<int>(own_or(make_call(__NR_fsync, fd), real, fd));
}
ENCLUME_EXPORT int fdatasync(int fd) {
  static Real<int(int)> real{"fdatasync"};
  return static_cast<int>(own_or(make_call(__NR_fdatasync, fd), real, fd));
}

ENCLUME_EXPORT ssize_t sendfile(int to, int from, off_t* offset, size_t size) noexcept {
  static Real<ssize_t(int, int, off_t*, size_t)> real{"sendfile"};
  return own_between(make_call(__NR_sendfile, to, from, offset, size), 1, real, to, from, offset, size);
}
ENCLUME_EXPORT ssize_t sendfile64(int to, int from, off64_t* offset, size_t size) noexcept {
  static Real<ssize_t(int, int, off64_t*, size_t)> real{"sendfile64"};
  return own_between(make_call(__NR_sendfile, to, from, offset, size), 1, real, to, from, offset, size);
}
ENCLUME_EXPORT ssize_t splice(int from, off64_t* in, int to, off64_t* out, size_t size, unsigned flags) {
  static Real<ssize_t(int, off64_t*, int, off64_t*, size_t, unsigned)> real{"splice"};
  return own_between(make_call(__NR_splice, from, in, to, out, size, flags), 2, real, from, in, to, out, size,
                     flags);
}
ENCLUME_EXPORT ssize_t copy_file_range(int from, off64_t* in, int to, off64_t* out, size_t size,
                                       unsigned flags) {
  static Real<ssize_t(int, off64_t*, int, off64_t*, size_t, unsigned)> real{"copy_file_range"};
  return own_between(make_call(__NR_copy_file_range, from, in, to, out, size, flags), 2, real, from, in, to,
                     out, size, flags);
}

#define ENCLUME_VECTORED(name, number)                                                          \
  ENCLUME_EXPORT ssize_t name(int fd, const struct iovec* parts, int count, off_t offset) {     \
    static Real<ssize_t(int, const struct iovec*, int, off_t)> real{#name};                     \
    return own_or(make_call(number, fd, parts, count, offset), real, fd, parts, count, offset); \
  }
#define ENCLUME_VECTORED_WITH_FLAGS(name, number)                                                      \
  ENCLUME_EXPORT ssize_t name(int fd, const struct iovec* parts, int count, off_t offset, int flags) { \
    static Real<ssize_t(int, const struct iovec*, int, off_t, int)> real{#name};                       \
    return own_or(make_call(number, fd, parts, count, offset), real, fd, parts, count, offset, flags); \
  }
ENCLUME_VECTORED(preadv, __NR_preadv)
ENCLUME_VECTORED(preadv64, __NR_preadv)
ENCLUME_VECTORED(pwritev, __NR_pwritev)
ENCLUME_VECTORED(pwritev64, __NR_pwritev)
ENCLUME_VECTORED_WITH_FLAGS(preadv2, __NR_preadv2)
ENCLUME_VECTORED_WITH_FLAGS(preadv64v2, __NR_preadv2)
ENCLUME_VECTORED_WITH_FLAGS(pwritev2, __NR_pwritev2)
ENCLUME_VECTORED_WITH_FLAGS(pwritev64v2, __NR_pwritev2)
