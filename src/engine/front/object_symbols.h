// SPDX-License-Identifier: Apache-2.0
// The dynamic symbols of loaded objects, read from their tables.
#pragma once

#include <elf.h>

#include <cstdint>

namespace enclume::engine {

/// The symbols of an object. (DT_HASH is what no object of today's has alone; such ones are not read.)
struct ObjectSymbols {
  std::uint64_t base = 0;
  const Elf64_Sym* table = nullptr;
  const char* strings = nullptr;
  const std::uint32_t* gnu_hash = nullptr;
  const std::uint16_t* versions = nullptr;  ///< null if it has none

  [[nodiscard]] bool complete() const {
    return table != nullptr && strings != nullptr && gnu_hash != nullptr;
  }
  [[nodiscard]] const char* name_of(const Elf64_Sym& symbol) const { return strings + symbol.st_name; }
  /// In front of these nothing is in the hash table: what the object refers to.
  [[nodiscard]] std::uint32_t first_hashed() const { return gnu_hash[1]; }
};

/// `dynamic` is an object's that the dynamic linker has loaded; null: no symbols.
[[nodiscard]] ObjectSymbols symbols_of(std::uint64_t base, const Elf64_Dyn* dynamic);

/// The definition of a name in an object, in its default version if there are several; null if there is none.
[[nodiscard]] const Elf64_Sym* find_symbol(const ObjectSymbols& in, const char* name);

/// At the engine's start, before a constructor of the program has run: what dlsym(RTLD_NEXT) gives for a
/// function, at a fraction of the price. The dynamic linker's list is in the order of its searches then.
[[nodiscard]] void* next_function_at_start(const char* name);

}  // namespace enclume::engine
