// SPDX-License-Identifier: Apache-2.0
// System calls without libc: no errno, no cancellation point, no TLS.
#pragma once

#include <asm/unistd.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/errno.h"

extern "C" __attribute__((visibility("hidden"))) void (*enclume_system_call)();

namespace enclume::sys {

/// Raw system call; returns the kernel's value, -errno on failure. It goes by way of the SYSCALL and RET that
/// enclume_system_call points to (syscall.S says why). Signal context: safe.
inline long raw(long nr, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  long ret;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
#ifdef ENCLUME_PLAIN_SYSCALL  // nobody else sees or moves this program's system calls
  __asm__ volatile("syscall"
                   : "=a"(ret)
                   : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
#else
#ifdef ENCLUME_NO_RED_ZONE
#define ENCLUME_SYSTEM_CALL "call *%[gate]"
#else
#define ENCLUME_SYSTEM_CALL "leaq -128(%%rsp), %%rsp\n\tcall *%[gate]\n\tleaq 128(%%rsp), %%rsp"
#endif
  __asm__ volatile(ENCLUME_SYSTEM_CALL
                   : "=a"(ret)
                   : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
                     "r"(r9), [gate] "m"(enclume_system_call)
                   : "rcx", "r11", "memory");
#endif
  return ret;
}

template <typename T>
inline long arg(T value) {
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<long>(value);
  } else {
    return static_cast<long>(value);
  }
}

/// Typed convenience over raw(): pointers and integers alike. Signal context: safe.
template <typename... Args>
inline SysResult<long> call(long nr, Args... args) {
  return from_raw(raw(nr, arg(args)...));
}

inline int gettid() {
  return static_cast<int>(raw(__NR_gettid));
}
inline int getpid() {
  return static_cast<int>(raw(__NR_getpid));
}

/// Writes all of the bytes, retrying short writes; drops the rest on an error. Signal context: safe.
inline void write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const long n = raw(__NR_write, fd, arg(data), arg(size));
    if (n == -EINTR) {
      continue;
    }
    if (n <= 0) {
      return;
    }
    data += n;
    size -= static_cast<std::size_t>(n);
  }
}

[[noreturn]] inline void exit_group(int status) {
  for (;;) {
    raw(__NR_exit_group, status);
  }
}

}  // namespace enclume::sys
