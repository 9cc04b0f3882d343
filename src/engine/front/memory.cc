// SPDX-License-Identifier: Apache-2.0
// mmap and its kin: mappings of enclaves follow Linux's rules for them, all others go to the kernel as they
// are.
#include "engine/calls/memory.h"

#include <sys/mman.h>

#include <cstdarg>

#include "base/syscall.h"
#include "engine/calls/advice.h"
#include "engine/front/real.h"

using namespace enclume::engine;  // the exported names below are C's

ENCLUME_EXPORT void* mmap(void* address, std::size_t length, int prot, int flags, int fd, off_t offset) {
  return reinterpret_cast<void*>(libc_result(front_mmap(address, length, prot, flags, fd, offset)));
}
ENCLUME_EXPORT void* mmap64(void* address, std::size_t length, int prot, int flags, int fd, off64_t offset) {
  return reinterpret_cast<void*>(libc_result(front_mmap(address, length, prot, flags, fd, offset)));
}
ENCLUME_EXPORT int munmap(void* address, std::size_t length) {
  return static_cast<int>(libc_result(front_munmap(address, length)));
}
ENCLUME_EXPORT int mprotect(void* address, std::size_t length, int prot) {
  return static_cast<int>(libc_result(front_mprotect(address, length, prot, -1)));
}
ENCLUME_EXPORT int pkey_mprotect(void* address, std::size_t length, int prot, int key) {
  return static_cast<int>(libc_result(front_mprotect(address, length, prot, key)));
}
ENCLUME_EXPORT void* mremap(void* address, std::size_t old_size, std::size_t new_size, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  void* to = (flags & MREMAP_FIXED) != 0 ? va_arg(arguments, void*) : nullptr;
  va_end(arguments);
  return reinterpret_cast<void*>(libc_result(front_mremap(address, old_size, new_size, flags, to)));
}

ENCLUME_EXPORT int madvise(void* address, std::size_t length, int advice) noexcept {
  const auto own = front_madvise(address, length, advice);
  return static_cast<int>(
      libc_result(own ? *own : enclume::sys::call(__NR_madvise, address, length, advice)));
}
ENCLUME_EXPORT int mlock(const void* address, std::size_t length) noexcept {
  const auto own = front_mlock(const_cast<void*>(address), length, 0);
  return static_cast<int>(libc_result(own ? *own : enclume::sys::call(__NR_mlock, address, length)));
}
ENCLUME_EXPORT int mlock2(const void* address, std::size_t length, unsigned flags) noexcept {
  const auto own = front_mlock(const_cast<void*>(address), length, flags);
  return static_cast<int>(libc_result(own ? *own : enclume::sys::call(__NR_mlock2, address, length, flags)));
}

ENCLUME_EXPORT int ioctl(int fd, unsigned long command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  if (const auto result = front_ioctl(fd, command, reinterpret_cast<std::uint64_t>(argument))) {
    return static_cast<int>(libc_result(*result));
  }
  return static_cast<int>(
      enclume::engine::libc_result(enclume::sys::call(__NR_ioctl, fd, command, argument)));
}
