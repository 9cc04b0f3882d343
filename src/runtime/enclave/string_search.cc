// SPDX-License-Identifier: Apache-2.0
// memchr and its kin, apart from <cstring>, whose overloads for C++ have other types.
#define memchr enclume_declared_memchr
#define strchr enclume_declared_strchr
#define strrchr enclume_declared_strrchr
#define strpbrk enclume_declared_strpbrk
#define strstr enclume_declared_strstr
#include <cstddef>
#undef memchr
#undef strchr
#undef strrchr
#undef strpbrk
#undef strstr

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

std::size_t strcspn(const char* text, const char* rejected) {
  std::size_t length = 0;
  while (text[length] != 0 && strchr(rejected, text[length]) == nullptr) ++length;
  return length;
}

std::size_t strspn(const char* text, const char* accepted) {
  std::size_t length = 0;
  while (text[length] != 0 && strchr(accepted, text[length]) != nullptr) ++length;
  return length;
}

char* strpbrk(const char* text, const char* wanted) {
  text += strcspn(text, wanted);
  return *text != 0 ? const_cast<char*>(text) : nullptr;
}

char* strstr(const char* text, const char* wanted) {
  for (;; ++text) {
    std::size_t same = 0;
    while (wanted[same] != 0 && text[same] == wanted[same]) ++same;
    if (wanted[same] == 0) return const_cast<char*>(text);
    if (text[same] == 0) return nullptr;
  }
}
}
