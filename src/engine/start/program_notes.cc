// SPDX-License-Identifier: Apache-2.0
#include "engine/start/program_notes.h"

#include <cstring>

#include "base/types.h"

namespace enclume::engine {

std::uint64_t load_bias(std::span<const Elf64_Phdr> segments) {
  const auto place = reinterpret_cast<std::uint64_t>(segments.data());
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type == PT_PHDR) {
      return place - segment.p_vaddr;
    }
  }
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type == PT_LOAD && segment.p_offset == 0) {
      return place - sizeof(Elf64_Ehdr) - segment.p_vaddr;
    }
  }
  return 0;
}

namespace {

bool has_go_note(const std::byte* notes, std::uint64_t size) {
  constexpr char kOwner[4] = "Go\0";
  while (size >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes, sizeof(note));
    const std::uint64_t whole =
        sizeof(note) + align_up(std::uint64_t{note.n_namesz}, 4) + align_up(std::uint64_t{note.n_descsz}, 4);
    if (whole > size) {
      return false;
    }
    if (note.n_namesz == sizeof(kOwner) && std::memcmp(notes + sizeof(note), kOwner, sizeof(kOwner)) == 0) {
      return true;
    }
    notes += whole;
    size -= whole;
  }
  return false;
}

}  // namespace

bool is_go_program(std::span<const Elf64_Phdr> segments) {
  const std::uint64_t bias = load_bias(segments);
  for (const Elf64_Phdr& segment : segments) {
    // Notes that are 8 bytes apart are GNU's properties.
    if (segment.p_type == PT_NOTE && segment.p_align <= 4 &&
        has_go_note(reinterpret_cast<const std::byte*>(segment.p_vaddr + bias), segment.p_memsz)) {
      return true;
    }
  }
  return false;
}

}  // namespace enclume::engine
