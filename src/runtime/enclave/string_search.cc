// SPDX-License-Identifier: Apache-2.0
// memchr and its kin, apart from <cstring>, whose overloads for C++ have other types.
#define memchr enclume_declared_memchr
#define strchr enclume_declared_strchr
#define strrchr enclume_declared_strrchr
#include <cstddef>
#undef memchr
#undef strchr
#undef strrchr

extern "C" {

void* memchr(const void* from, int value, std::size_t bytes) {
  const auto* at = static_cast<const unsigned char*>(from);
  for (std::size_t i = 0; i < bytes; ++i) {
    if (at[i] == static_cast<unsigned char>(value)) return const_cast<unsigned char*>(at + i);
  }
  return nullptr;
}

char* strchr(const char* text, int value) {
  for (;; ++text) {
    if (*text == static_cast<char>(value)) return const_cast<char*>(text);
    if (*text == 0) return nullptr;
  }
}

char* strrchr(const char* text, int value) {
  char* last = nullptr;
  for (;; ++text) {
    if (*text == static_cast<char>(value)) last = const_cast<char*>(text);
    if (*text == 0) return last;
  }
}
}
