// SPDX-License-Identifier: Apache-2.0
// The functions that a compiler, or std::string_view, may call on its own. Hidden, so that the engine's
// signal path never leaves the engine: libc's are chosen by ld.so at run time, may be interposed by the
// program, and use vector registers.
#include <cstddef>
#include <cstdint>

extern "C" {

void* memcpy(void* __restrict to, const void* __restrict from, std::size_t size) {
  void* const result = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
  return result;
}

void* memmove(void* to, const void* from, std::size_t size) {
  auto* out = static_cast<unsigned char*>(to);
  const auto* in = static_cast<const unsigned char*>(from);
  if (reinterpret_cast<std::uintptr_t>(out) - reinterpret_cast<std::uintptr_t>(in) >= size) {
    return memcpy(to, from, size);
  }
  for (std::size_t i = size; i > 0; --i) {
    out[i - 1] = in[i - 1];
  }
  return to;
}

void* memset(void* to, int value, std::size_t size) {
  void* const result = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
  return result;
}

int memcmp(const void* a, const void* b, std::size_t size) {
  const auto* x = static_cast<const unsigned char*>(a);
  const auto* y = static_cast<const unsigned char*>(b);
  for (std::size_t i = 0; i < size; ++i) {
    if (x[i] != y[i]) {
      return x[i] < y[i] ? -1 : 1;
    }
  }
  return 0;
}

void* memchr(const void* where, int what, std::size_t size) {
  auto* p = static_cast<const unsigned char*>(where);
  for (; size > 0; ++p, --size) {
    if (*p == static_cast<unsigned char>(what)) {
      return const_cast<unsigned char*>(p);
    }
  }
  return nullptr;
}

std::size_t strlen(const char* text) {
  std::size_t n = 0;
  while (text[n] != '\0') {
    ++n;
  }
  return n;
}

int strncmp(const char* a, const char* b, std::size_t size) {
  for (; size > 0; --size, ++a, ++b) {
    if (*a != *b || *a == '\0') {
      return static_cast<unsigned char>(*a) - static_cast<unsigned char>(*b);
    }
  }
  return 0;
}

int strcmp(const char* a, const char* b) {
  return strncmp(a, b, ~std::size_t{0});
}

char* strchr(const char* text, int what) {
  for (; *text != static_cast<char>(what); ++text) {
    if (*text == '\0') {
      return nullptr;
    }
  }
  return const_cast<char*>(text);
}

char* strcpy(char* __restrict to, const char* __restrict from) {
  memcpy(to, from, strlen(from) + 1);
  return to;
}

}  // extern "C"
