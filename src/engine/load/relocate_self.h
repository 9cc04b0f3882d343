// SPDX-License-Identifier: Apache-2.0
// An object that no dynamic linker has loaded makes its own addresses right.
#pragma once

#include <elf.h>

#include <cstdint>

namespace enclume::engine {

/// Applies the relocations of the object at `base`. References to what it does not define itself become 0 if
/// they are weak, else `missing`. Thread-local variables do not exist. Before it is called, nothing may be
/// used whose address is kept in memory, system calls among them. Signal context: unsafe (once, at start).
inline void relocate_self(std::uint64_t base, const Elf64_Dyn* dynamic, std::uint64_t missing) {
  const Elf64_Sym* symbols = nullptr;
  struct Table {
    std::uint64_t begin = 0;
    std::uint64_t size = 0;
  } tables[2];
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    const std::uint64_t value = dynamic->d_un.d_val;
    switch (dynamic->d_tag) {
      case DT_SYMTAB:
        symbols = reinterpret_cast<const Elf64_Sym*>(base + value);
        break;
      case DT_RELA:
        tables[0].begin = base + value;
        break;
      case DT_RELASZ:
        tables[0].size = value;
        break;
      case DT_JMPREL:
        tables[1].begin = base + value;
        break;
      case DT_PLTRELSZ:
        tables[1].size = value;
        break;
      default:
        break;
    }
  }
  for (const Table& table : tables) {
    const auto* const end = reinterpret_cast<const Elf64_Rela*>(table.begin + table.size);
    for (const auto* entry = reinterpret_cast<const Elf64_Rela*>(table.begin); entry != end; ++entry) {
      auto& place = *reinterpret_cast<std::uint64_t*>(base + entry->r_offset);
      const auto addend = static_cast<std::uint64_t>(entry->r_addend);
      switch (ELF64_R_TYPE(entry->r_info)) {
        case R_X86_64_RELATIVE:
          place = base + addend;
          break;
        case R_X86_64_64:
        case R_X86_64_GLOB_DAT:
        case R_X86_64_JUMP_SLOT: {
          const Elf64_Sym& symbol = symbols[ELF64_R_SYM(entry->r_info)];
          if (symbol.st_shndx != SHN_UNDEF) {
            place = base + symbol.st_value + addend;
          } else {
            place = ELF64_ST_BIND(symbol.st_info) == STB_WEAK ? 0 : missing;
          }
          break;
        }
        default:
          break;
      }
    }
  }
}

}  // namespace enclume::engine
