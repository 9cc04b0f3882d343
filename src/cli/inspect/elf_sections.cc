// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/elf_sections.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace enclume::cli {
namespace {

// A copy of what lies at `offset`, nothing if the file ends before it does.
template <typename Struct>
std::optional<Struct> read_at(std::span<const std::byte> file, std::uint64_t offset) {
  if (offset > file.size() || file.size() - offset < sizeof(Struct)) return std::nullopt;
  Struct value;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

std::span<const std::byte> content(std::span<const std::byte> file, const Elf64_Shdr& header) {
  if (header.sh_type == SHT_NOBITS || header.sh_offset > file.size()) return {};
  return file.subspan(header.sh_offset,
                      std::min<std::uint64_t>(header.sh_size, file.size() - header.sh_offset));
}

std::string name_at(std::span<const std::byte> names, std::uint32_t offset) {
  if (offset >= names.size()) return "";
  const std::string_view text(reinterpret_cast<const char*>(names.data()) + offset, names.size() - offset);
  std::string name(text.substr(0, text.find('\0')));
  // Names come from the file and go to a terminal.
  std::ranges::replace_if(
      name, [](char c) { return c < ' ' || c > '~'; }, '?');
  return name;
}

}  // namespace

bool is_elf(std::span<const std::byte> file) {
  return file.size() >= SELFMAG && std::memcmp(file.data(), ELFMAG, SELFMAG) == 0;
}

std::vector<ElfSection> elf_sections(std::span<const std::byte> file) {
  const auto header = read_at<Elf64_Ehdr>(file, 0);
  if (!is_elf(file) || !header || header->e_ident[EI_CLASS] != ELFCLASS64 ||
      header->e_ident[EI_DATA] != ELFDATA2LSB || header->e_shentsize != sizeof(Elf64_Shdr)) {
    return {};
  }
  std::vector<Elf64_Shdr> table;
  for (unsigned i = 0; i < header->e_shnum; ++i) {
    if (header->e_shoff > file.size()) break;
    const auto entry = read_at<Elf64_Shdr>(file, header->e_shoff + i * sizeof(Elf64_Shdr));
    if (!entry) break;
    table.push_back(*entry);
  }
  const auto names = header->e_shstrndx < table.size() ? content(file, table[header->e_shstrndx])
                                                       : std::span<const std::byte>{};
  std::vector<ElfSection> sections;
  for (const auto& entry : table) {
    const auto bytes = content(file, entry);
    if (!bytes.empty()) sections.push_back({name_at(names, entry.sh_name), entry.sh_offset, bytes.size()});
  }
  return sections;
}

const ElfSection* section_at(std::span<const ElfSection> sections, std::uint64_t offset) {
  const auto found = std::ranges::find_if(sections, [&](const ElfSection& section) {
    return offset >= section.offset && offset - section.offset < section.size;
  });
  return found == sections.end() ? nullptr : &*found;
}

}  // namespace enclume::cli
