// SPDX-License-Identifier: Apache-2.0
//
// A SYSCALL instruction of the program's own.
#pragma once

#include <type_traits>

namespace enclume::test {

template <typename T>
long raw_argument(T value) {
  if constexpr (std::is_null_pointer_v<T>) {
    return 0;
  } else if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<long>(value);
  } else {
    return static_cast<long>(value);
  }
}

inline long raw_call(long number, long a, long b, long c, long d, long e, long f) {
  long result = number;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "+a"(result)
               : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

// The kernel's value: -errno for a failure.
template <typename... Arguments>
long raw(long number, Arguments... arguments) {
  const long a[7] = {raw_argument(arguments)..., 0};
  return raw_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

}  // namespace enclume::test
