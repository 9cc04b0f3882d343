// SPDX-License-Identifier: Apache-2.0
// What the kernel puts on the stack of a new program (create_elf_tables() in fs/binfmt_elf.c): argc, argv and
// envp each with a null pointer behind it, and the auxiliary vector.
#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace enclume::engine {

/// Behind the environment's terminating null pointer; the AT_NULL entry is the last of the span.
inline std::span<Elf64_auxv_t> auxiliary_vector(char** environment) {
  while (*environment != nullptr) {
    ++environment;
  }
  auto* begin = reinterpret_cast<Elf64_auxv_t*>(environment + 1);
  std::size_t count = 1;
  for (const auto* entry = begin; entry->a_type != AT_NULL; ++entry) {
    ++count;
  }
  return {begin, count};
}

/// The value of an entry, null if there is none.
inline std::uint64_t* auxiliary_value(std::span<Elf64_auxv_t> vector, std::uint64_t type) {
  for (Elf64_auxv_t& entry : vector) {
    if (entry.a_type == type && type != AT_NULL) {
      return &entry.a_un.a_val;
    }
  }
  return nullptr;
}

}  // namespace enclume::engine
