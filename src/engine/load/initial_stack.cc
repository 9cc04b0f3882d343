// SPDX-License-Identifier: Apache-2.0
#include "engine/load/initial_stack.h"

#include <cstring>
#include <string_view>

namespace enclume::engine {

bool starts_with(const char* text, std::string_view prefix) {
  for (const char c : prefix) {
    if (*text++ != c) {
      return false;
    }
  }
  return true;
}

namespace {

std::uint64_t end_of(const char* string) {
  return reinterpret_cast<std::uint64_t>(string) + std::strlen(string) + 1;
}

/// A hidden LD_PRELOAD stands for the one that the loader was given.
bool hides_preload(const KernelStack& stack) {
  for (char** entry = stack.environment(); *entry != nullptr; ++entry) {
    if (starts_with(*entry, kLoadHide) && starts_with(*entry + kLoadHide.size(), "LD_PRELOAD=")) {
      return true;
    }
  }
  return false;
}

/// What the program sees of a variable; null: nothing.
char* visible(char* entry, bool without_preload) {
  if (starts_with(entry, kLoadHide)) {
    return entry + kLoadHide.size();
  }
  if (starts_with(entry, kLoadPrefix) || (without_preload && starts_with(entry, "LD_PRELOAD="))) {
    return nullptr;
  }
  return entry;
}

}  // namespace

StackStrings find_strings(const KernelStack& stack) {
  const bool without_preload = hides_preload(stack);
  StackStrings strings;
  char** argv = stack.argv();
  strings.arg_start = reinterpret_cast<std::uint64_t>(argv[0]);
  strings.arg_end = stack.argc() != 0 ? end_of(argv[stack.argc() - 1]) : strings.arg_start;
  strings.env_start = strings.arg_end;
  strings.env_end = strings.env_start;
  for (char** entry = stack.environment(); *entry != nullptr; ++entry) {
    if (visible(*entry, without_preload) != nullptr) {
      strings.env_end = end_of(*entry);
    }
  }
  return strings;
}

char* load_variable(const KernelStack& stack, std::string_view name) {
  for (char** entry = stack.environment(); *entry != nullptr; ++entry) {
    if (starts_with(*entry, name)) {
      return *entry + name.size();
    }
  }
  return nullptr;
}

KernelStack strip_stack(const KernelStack& stack) {
  const bool without_preload = hides_preload(stack);
  const std::span<Elf64_auxv_t> auxv = stack.auxv();
  auto* vector = reinterpret_cast<std::uint64_t*>(auxv.data());
  char** kept = stack.environment();
  for (char** entry = kept; *entry != nullptr; ++entry) {
    if (char* seen = visible(*entry, without_preload); seen != nullptr) {
      std::memset(*entry, 0,
                  static_cast<std::size_t>(seen - *entry));  // /proc/PID/environ shows empty strings
      *kept++ = seen;
    }
  }
  *kept++ = nullptr;
  const auto words = static_cast<std::size_t>(reinterpret_cast<std::uint64_t*>(kept) - stack.words);
  // An odd number less: the vector goes one word lower, since RSP is a multiple of 16.
  if (((reinterpret_cast<std::uint64_t>(vector) / sizeof(std::uint64_t) - words) & 1) != 0) {
    std::memmove(vector - 1, vector, auxv.size_bytes());
    --vector;
  }
  std::uint64_t* to = vector - words;
  std::memmove(to, stack.words, words * sizeof(std::uint64_t));
  return {to};
}

}  // namespace enclume::engine
