// SPDX-License-Identifier: Apache-2.0
// Looks a function up in the vDSO of this process, by the ELF image that the kernel has mapped. Works on any
// Linux.
#pragma once

#include <elf.h>
#include <sys/auxv.h>

#include <cstdint>
#include <cstring>

namespace enclume {

/// The address of `name`, null if this process has no vDSO or the vDSO no such function. Any version.
inline void* find_vdso_symbol(const char* name) noexcept {
  const auto base = static_cast<std::uintptr_t>(getauxval(AT_SYSINFO_EHDR));
  if (base == 0) {
    return nullptr;
  }
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(base);
  const auto* segments = reinterpret_cast<const Elf64_Phdr*>(base + header->e_phoff);
  const Elf64_Dyn* dynamic = nullptr;
  std::uintptr_t bias = 0;
  for (unsigned i = 0; i < header->e_phnum; ++i) {
    if (segments[i].p_type == PT_LOAD && dynamic == nullptr && bias == 0) {
      bias = base + segments[i].p_offset - segments[i].p_vaddr;
    } else if (segments[i].p_type == PT_DYNAMIC) {
      dynamic = reinterpret_cast<const Elf64_Dyn*>(base + segments[i].p_offset);
    }
  }
  const Elf64_Sym* symbols = nullptr;
  const char* strings = nullptr;
  const Elf64_Word* hash = nullptr;
  const Elf64_Word* gnu_hash = nullptr;
  for (; dynamic != nullptr && dynamic->d_tag != DT_NULL; ++dynamic) {
    const std::uintptr_t at = bias + dynamic->d_un.d_ptr;
    switch (dynamic->d_tag) {
      case DT_SYMTAB:
        symbols = reinterpret_cast<const Elf64_Sym*>(at);
        break;
      case DT_STRTAB:
        strings = reinterpret_cast<const char*>(at);
        break;
      case DT_HASH:
        hash = reinterpret_cast<const Elf64_Word*>(at);
        break;
      case DT_GNU_HASH:
        gnu_hash = reinterpret_cast<const Elf64_Word*>(at);
        break;
      default:
        break;
    }
  }
  if (symbols == nullptr || strings == nullptr) {
    return nullptr;
  }
  std::uint64_t count = 0;
  if (hash != nullptr) {
    count = hash[1];
  } else if (gnu_hash != nullptr) {
    // The highest bucket, then its chain to the end.
    const Elf64_Word* buckets = gnu_hash + 4 + 2 * gnu_hash[2];
    for (Elf64_Word i = 0; i < gnu_hash[0]; ++i) {
      count = buckets[i] > count ? buckets[i] : count;
    }
    if (count >= gnu_hash[1] && count != 0) {
      const Elf64_Word* chains = buckets + gnu_hash[0];
      while ((chains[count - gnu_hash[1]] & 1) == 0) {
        ++count;
      }
      ++count;
    }
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    if (symbols[i].st_shndx != SHN_UNDEF && std::strcmp(strings + symbols[i].st_name, name) == 0) {
      return reinterpret_cast<void*>(bias + symbols[i].st_value);
    }
  }
  return nullptr;
}

}  // namespace enclume
