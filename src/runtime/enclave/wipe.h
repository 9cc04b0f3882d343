// SPDX-License-Identifier: Apache-2.0
// What code with secrets needs beside the arithmetic.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>

namespace enclume::enclave {

/// Overwrites; not left out, though nobody reads it again.
inline void wipe(void* data, std::size_t bytes) noexcept {
  std::memset(data, 0, bytes);
  asm volatile("" : : "r"(data) : "memory");
}

/// An object that is overwritten when it goes.
template <typename T>
struct Wiped {
  static_assert(std::is_trivially_copyable_v<T>);
  T value{};
  Wiped() = default;
  Wiped(const Wiped&) = delete;
  Wiped& operator=(const Wiped&) = delete;
  ~Wiped() { wipe(&value, sizeof value); }
};

/// Takes as long whatever the bytes are.
[[nodiscard]] inline bool same_bytes(const void* a, const void* b, std::size_t bytes) noexcept {
  const auto* left = static_cast<const volatile unsigned char*>(a);
  const auto* right = static_cast<const volatile unsigned char*>(b);
  unsigned difference = 0;
  for (std::size_t i = 0; i < bytes; ++i) difference |= static_cast<unsigned>(left[i] ^ right[i]);
  return difference == 0;
}

}  // namespace enclume::enclave
