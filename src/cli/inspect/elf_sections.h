// SPDX-License-Identifier: Apache-2.0
// Names of the sections of an ELF file, for saying where something was found. Tolerates damaged files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace enclume::cli {

struct ElfSection {
  std::string name;      // unprintable characters are shown as ?
  std::uint64_t offset;  // in the file
  std::uint64_t size;    // in the file; never reaches beyond its end
};

[[nodiscard]] bool is_elf(std::span<const std::byte> file);

// The sections of a 64-bit little-endian ELF file that lie within it; empty for anything else.
[[nodiscard]] std::vector<ElfSection> elf_sections(std::span<const std::byte> file);

// The section that holds the byte at `offset`.
[[nodiscard]] const ElfSection* section_at(std::span<const ElfSection> sections, std::uint64_t offset);

}  // namespace enclume::cli
