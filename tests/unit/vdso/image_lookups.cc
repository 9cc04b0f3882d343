// SPDX-License-Identifier: Apache-2.0
#include "unit/vdso/image_lookups.h"

#include <elf.h>

namespace enclume::test {
namespace {

template <typename T>
const T* at(const std::byte* base, std::uint64_t offset) {
  return reinterpret_cast<const T*>(base + offset);
}

unsigned long elf_hash(std::string_view name) {
  unsigned long hash = 0;
  for (const char c : name) {
    hash = hash * 16 + static_cast<unsigned char>(c);
    hash ^= hash >> 24 & 0xf0;
  }
  return hash & 0x0fffffff;
}

const Elf64_Phdr* segment(const std::byte* base, std::uint32_t type) {
  const auto* header = at<Elf64_Ehdr>(base, 0);
  const auto* table = at<Elf64_Phdr>(base, header->e_phoff);
  for (unsigned i = 0; i < header->e_phnum; i++) {
    if (table[i].p_type == type) {
      return &table[i];
    }
  }
  return nullptr;
}

const Elf64_Dyn* dynamic(const std::byte* base, Elf64_Sxword tag) {
  const Elf64_Phdr* table = segment(base, PT_DYNAMIC);
  if (table == nullptr) {
    return nullptr;
  }
  const auto* entry = at<Elf64_Dyn>(base, table->p_offset);
  for (; entry->d_tag != DT_NULL; entry++) {
    if (entry->d_tag == tag) {
      return entry;
    }
  }
  return nullptr;
}

template <typename T>
const T* dynamic_table(const std::byte* base, Elf64_Sxword tag) {
  const Elf64_Dyn* entry = dynamic(base, tag);
  return entry == nullptr ? nullptr : at<T>(base, entry->d_un.d_ptr);
}

bool version_matches(const Elf64_Verdef* definition, const char* strings, unsigned index,
                     std::string_view version) {
  for (;;) {
    if ((definition->vd_flags & VER_FLG_BASE) == 0 && (definition->vd_ndx & 0x7fff) == index) {
      break;
    }
    if (definition->vd_next == 0) {
      return false;
    }
    definition = at<Elf64_Verdef>(reinterpret_cast<const std::byte*>(definition), definition->vd_next);
  }
  const auto* name = at<Elf64_Verdaux>(reinterpret_cast<const std::byte*>(definition), definition->vd_aux);
  return definition->vd_hash == elf_hash(version) && version == strings + name->vda_name;
}

}  // namespace

const void* find_by_sysv_hash(const std::byte* base, std::string_view name) {
  const auto* symbols = dynamic_table<Elf64_Sym>(base, DT_SYMTAB);
  const auto* strings = dynamic_table<char>(base, DT_STRTAB);
  const auto* table = dynamic_table<Elf64_Word>(base, DT_HASH);
  if (symbols == nullptr || strings == nullptr || table == nullptr) {
    return nullptr;
  }
  const Elf64_Word* buckets = table + 2;
  const Elf64_Word* chains = buckets + table[0];
  for (Elf64_Word i = buckets[elf_hash(name) % table[0]]; i != STN_UNDEF; i = chains[i]) {
    if (name == strings + symbols[i].st_name) {
      return base + symbols[i].st_value;
    }
  }
  return nullptr;
}

const void* find_by_reference_parser(const std::byte* base, std::string_view version, std::string_view name) {
  const Elf64_Phdr* load = segment(base, PT_LOAD);
  if (load == nullptr) {
    return nullptr;
  }
  const std::byte* bias = base + load->p_offset - load->p_vaddr;
  const auto* symbols = dynamic_table<Elf64_Sym>(bias, DT_SYMTAB);
  const auto* strings = dynamic_table<char>(bias, DT_STRTAB);
  const auto* table = dynamic_table<Elf64_Word>(bias, DT_HASH);
  const auto* versions = dynamic_table<Elf64_Versym>(bias, DT_VERSYM);
  const auto* definitions = dynamic_table<Elf64_Verdef>(bias, DT_VERDEF);
  if (symbols == nullptr || strings == nullptr || table == nullptr || versions == nullptr ||
      definitions == nullptr) {
    return nullptr;
  }
  const Elf64_Word bucket_count = table[0];
  for (Elf64_Word i = table[2 + elf_hash(name) % bucket_count]; i != STN_UNDEF;
       i = table[2 + bucket_count + i]) {
    const Elf64_Sym& symbol = symbols[i];
    const unsigned bind = ELF64_ST_BIND(symbol.st_info);
    if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && (bind == STB_GLOBAL || bind == STB_WEAK) &&
        symbol.st_shndx != SHN_UNDEF && name == strings + symbol.st_name &&
        version_matches(definitions, strings, versions[i] & 0x7fffU, version)) {
      return bias + symbol.st_value;
    }
  }
  return nullptr;
}

const void* find_by_gnu_hash(const std::byte* base, std::string_view name) {
  const auto* symbols = dynamic_table<Elf64_Sym>(base, DT_SYMTAB);
  const auto* strings = dynamic_table<char>(base, DT_STRTAB);
  const auto* table = dynamic_table<Elf64_Word>(base, DT_GNU_HASH);
  if (symbols == nullptr || strings == nullptr || table == nullptr) {
    return nullptr;
  }
  Elf64_Word hash = 5381;
  for (const char c : name) {
    hash = (hash << 5) + hash + static_cast<unsigned char>(c);
  }
  const Elf64_Word bucket_count = table[0];
  const Elf64_Word first = table[1];
  const Elf64_Word bloom_words = table[2];
  const Elf64_Word shift = table[3];
  const auto* bloom = reinterpret_cast<const Elf64_Xword*>(table + 4);
  const auto* buckets = reinterpret_cast<const Elf64_Word*>(bloom + bloom_words);
  const Elf64_Word* chains = buckets + bucket_count;
  // ld.so masks where others would take the remainder: the size has to be a power of two.
  const Elf64_Xword word = bloom[hash / 64 & (bloom_words - 1)];
  if ((word >> hash % 64 & word >> (hash >> shift) % 64 & 1) == 0) {
    return nullptr;
  }
  Elf64_Word i = buckets[hash % bucket_count];
  if (i == 0) {
    return nullptr;
  }
  for (;; i++) {
    const Elf64_Word chained = chains[i - first];
    if ((chained | 1) == (hash | 1) && name == strings + symbols[i].st_name) {
      return base + symbols[i].st_value;
    }
    if ((chained & 1) != 0) {
      return nullptr;
    }
  }
}

const void* find_by_sections(const std::byte* base, std::string_view name) {
  const auto* header = at<Elf64_Ehdr>(base, 0);
  const auto* sections = at<Elf64_Shdr>(base, header->e_shoff);
  const auto* section_names = at<char>(base, sections[header->e_shstrndx].sh_offset);
  const Elf64_Shdr* dynsym = nullptr;
  const char* dynstr = nullptr;
  for (unsigned i = 0; i < header->e_shnum; i++) {
    const std::string_view section = section_names + sections[i].sh_name;
    if (section == ".dynsym") {
      dynsym = &sections[i];
    } else if (section == ".dynstr") {
      dynstr = at<char>(base, sections[i].sh_offset);
    }
  }
  if (dynsym == nullptr || dynstr == nullptr) {
    return nullptr;
  }
  const auto* symbols = at<Elf64_Sym>(base, dynsym->sh_offset);
  for (std::size_t i = 0; i < dynsym->sh_size / dynsym->sh_entsize; i++) {
    if (name == dynstr + symbols[i].st_name) {
      return base + symbols[i].st_value;
    }
  }
  return nullptr;
}

}  // namespace enclume::test
