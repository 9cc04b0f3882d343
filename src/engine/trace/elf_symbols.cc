// SPDX-License-Identifier: Apache-2.0
#include "engine/trace/elf_symbols.h"

#include <elf.h>

#include <cstring>

namespace enclume::engine {

template <typename T>
std::optional<T> ElfSymbols::read(std::uint64_t offset) const noexcept {
  if (offset > file_.size() || file_.size() - offset < sizeof(T)) {
    return std::nullopt;
  }
  T value;
  std::memcpy(&value, file_.data() + offset, sizeof(value));
  return value;
}

ElfSymbols::ElfSymbols(std::span<const std::byte> file) noexcept : file_(file) {
  const auto header = read<Elf64_Ehdr>(0);
  constexpr unsigned char kIdent[] = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB};
  if (!header || std::memcmp(header->e_ident, kIdent, sizeof(kIdent)) != 0 ||
      header->e_phentsize != sizeof(Elf64_Phdr) || header->e_shentsize != sizeof(Elf64_Shdr)) {
    return;
  }
  segments_ = header->e_phoff;
  segment_count_ = header->e_phnum;
  for (std::uint64_t i = 0; i < header->e_shnum; ++i) {
    const auto section = read<Elf64_Shdr>(header->e_shoff + i * sizeof(Elf64_Shdr));
    if (!section || (section->sh_type != SHT_SYMTAB && section->sh_type != SHT_DYNSYM)) {
      continue;
    }
    const auto names = read<Elf64_Shdr>(header->e_shoff + section->sh_link * sizeof(Elf64_Shdr));
    if (!names || section->sh_size / sizeof(Elf64_Sym) == 0) {
      continue;
    }
    symbols_ = section->sh_offset;
    symbol_count_ = section->sh_size / sizeof(Elf64_Sym);
    names_ = names->sh_offset;
    names_size_ = names->sh_size;
    if (section->sh_type == SHT_SYMTAB) {
      break;
    }
  }
}

/// The address that the file gives a byte of its own.
std::optional<std::uint64_t> ElfSymbols::address_of(std::uint64_t file_offset) const noexcept {
  for (std::uint64_t i = 0; i < segment_count_; ++i) {
    const auto segment = read<Elf64_Phdr>(segments_ + i * sizeof(Elf64_Phdr));
    if (segment && segment->p_type == PT_LOAD && file_offset >= segment->p_offset &&
        file_offset - segment->p_offset < segment->p_filesz) {
      return file_offset - segment->p_offset + segment->p_vaddr;
    }
  }
  return std::nullopt;
}

std::string_view ElfSymbols::name_at(std::uint64_t offset) const noexcept {
  if (names_ > file_.size() || offset >= names_size_ || offset >= file_.size() - names_) {
    return {};
  }
  const auto rest = file_.subspan(names_ + offset);
  std::size_t length = 0;
  while (length < rest.size() && rest[length] != std::byte{0}) {
    ++length;
  }
  return length < rest.size() ? std::string_view(reinterpret_cast<const char*>(rest.data()), length)
                              : std::string_view();
}

std::optional<trace::Symbol> ElfSymbols::find(std::uint64_t file_offset) const noexcept {
  const auto address = address_of(file_offset);
  if (!address) {
    return std::nullopt;
  }
  Elf64_Sym best{};
  bool found = false;
  for (std::uint64_t i = 0; i < symbol_count_; ++i) {
    const auto symbol = read<Elf64_Sym>(symbols_ + i * sizeof(Elf64_Sym));
    if (!symbol) {
      break;
    }
    const unsigned type = ELF64_ST_TYPE(symbol->st_info);
    if (symbol->st_shndx == SHN_UNDEF || symbol->st_shndx >= SHN_LORESERVE ||
        (type != STT_NOTYPE && type != STT_FUNC && type != STT_OBJECT && type != STT_GNU_IFUNC) ||
        symbol->st_value > *address || symbol->st_name == 0) {
      continue;
    }
    // Of several at one address a function with a size, and a global one, says most.
    const auto rank = [](const Elf64_Sym& s) {
      return (s.st_size != 0 ? 2 : 0) + (ELF64_ST_BIND(s.st_info) != STB_LOCAL ? 1 : 0);
    };
    if (!found || symbol->st_value > best.st_value ||
        (symbol->st_value == best.st_value && rank(*symbol) > rank(best))) {
      best = *symbol;
      found = true;
    }
  }
  if (!found || (best.st_size != 0 && *address - best.st_value >= best.st_size)) {
    return std::nullopt;
  }
  const std::string_view name = name_at(best.st_name);
  return name.empty() ? std::nullopt : std::optional(trace::Symbol{name, *address - best.st_value});
}

}  // namespace enclume::engine
