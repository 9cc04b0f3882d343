// SPDX-License-Identifier: Apache-2.0
// The subset of the C library that freestanding C++ needs, beside the heap. Compiled so that the compiler
// does not turn a loop into a call of the function that the loop is in.
#include <cstddef>
#include <cstdint>

namespace {

// From here on the string instructions are faster than a loop. They go by words: where they do it in the slow
// way (on AMD's processors while a debug register watches data, or where source and target are a little apart
// but for the page) it is in an eighth of the steps.
constexpr std::size_t kLong = 64;

}  // namespace

extern "C" {

void* memcpy(void* to, const void* from, std::size_t bytes) {
  void* const result = to;
  if (bytes >= kLong) {
    std::size_t words = bytes / 8;
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
    bytes %= 8;
  }
  auto* out = static_cast<unsigned char*>(to);
  const auto* in = static_cast<const unsigned char*>(from);
  for (; bytes >= 8; bytes -= 8, out += 8, in += 8) {
    std::uint64_t word;
    __builtin_memcpy(&word, in, 8);
    __builtin_memcpy(out, &word, 8);
  }
  while (bytes-- != 0) *out++ = *in++;
  return result;
}

void* memmove(void* to, const void* from, std::size_t bytes) {
  auto* out = static_cast<unsigned char*>(to);
  const auto* in = static_cast<const unsigned char*>(from);
  // Ascending is right unless the target begins within the source.
  if (reinterpret_cast<std::uintptr_t>(out) - reinterpret_cast<std::uintptr_t>(in) >= bytes) {
    return memcpy(to, from, bytes);
  }
  for (; bytes >= 8; bytes -= 8) {
    std::uint64_t word;
    __builtin_memcpy(&word, in + bytes - 8, 8);
    __builtin_memcpy(out + bytes - 8, &word, 8);
  }
  while (bytes-- != 0) out[bytes] = in[bytes];
  return to;
}

void* memset(void* to, int value, std::size_t bytes) {
  void* const result = to;
  const auto byte = static_cast<unsigned char>(value);
  const std::uint64_t word = byte * std::uint64_t{0x0101'0101'0101'0101};
  if (bytes >= kLong) {
    std::size_t words = bytes / 8;
    asm volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(word) : "memory");
    bytes %= 8;
  }
  auto* out = static_cast<unsigned char*>(to);
  for (; bytes >= 8; bytes -= 8, out += 8) __builtin_memcpy(out, &word, 8);
  while (bytes-- != 0) *out++ = byte;
  return result;
}

int memcmp(const void* a, const void* b, std::size_t bytes) {
  const auto* left = static_cast<const unsigned char*>(a);
  const auto* right = static_cast<const unsigned char*>(b);
  for (std::size_t i = 0; i < bytes; ++i) {
    if (left[i] != right[i]) return left[i] < right[i] ? -1 : 1;
  }
  return 0;
}

std::size_t strlen(const char* text) {
  std::size_t length = 0;
  while (text[length] != 0) ++length;
  return length;
}

std::size_t strnlen(const char* text, std::size_t limit) {
  std::size_t length = 0;
  while (length < limit && text[length] != 0) ++length;
  return length;
}

int strncmp(const char* a, const char* b, std::size_t limit) {
  for (std::size_t i = 0; i < limit; ++i) {
    const auto left = static_cast<unsigned char>(a[i]);
    const auto right = static_cast<unsigned char>(b[i]);
    if (left != right) return left < right ? -1 : 1;
    if (left == 0) break;
  }
  return 0;
}

int strcmp(const char* a, const char* b) {
  return strncmp(a, b, SIZE_MAX);
}

char* strcpy(char* to, const char* from) {
  for (std::size_t i = 0;; ++i) {
    to[i] = from[i];
    if (from[i] == 0) return to;
  }
}

char* strncpy(char* to, const char* from, std::size_t bytes) {
  std::size_t i = 0;
  for (; i < bytes && from[i] != 0; ++i) to[i] = from[i];
  for (; i < bytes; ++i) to[i] = 0;
  return to;
}

char* strncat(char* to, const char* from, std::size_t limit) {
  char* out = to + strlen(to);
  for (; limit != 0 && *from != 0; --limit) *out++ = *from++;
  *out = 0;
  return to;
}

char* strcat(char* to, const char* from) {
  return strncat(to, from, SIZE_MAX);
}

// An exception that ends the call, and that a handler or a debugger sees where it happens.
[[noreturn]] void abort() {
  for (;;) asm volatile("ud2");
}

[[noreturn]] void __assert_fail(const char*, const char*, unsigned, const char*) {
  abort();
}

[[noreturn]] void __stack_chk_fail() {
  abort();
}

// An enclave is never left for good by its own will, so nothing registered is ever run.
int __cxa_atexit(void (*)(void*), void*, void*) {
  return 0;
}

// Nor does a TCS ever end.
int __cxa_thread_atexit(void (*)(void*), void*, void*) {
  return 0;
}

[[gnu::visibility("hidden")]] void* __dso_handle = nullptr;
}
