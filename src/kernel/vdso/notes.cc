// SPDX-License-Identifier: Apache-2.0
#include "kernel/vdso/notes.h"

#include <elf.h>

#include <cstdint>

namespace enclume::kernel {
namespace {

/// FNV-1a. It tells images apart; it protects nothing.
std::uint64_t fnv1a(std::span<const std::byte> bytes) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::byte b : bytes) {
    hash = (hash ^ std::to_integer<std::uint64_t>(b)) * 0x100000001b3;
  }
  return hash;
}

bool is_build_id(std::span<const std::byte> notes, std::uint64_t place, const Elf64_Nhdr& note) {
  const auto name = slice(notes, place + sizeof note, note.n_namesz);
  return note.n_type == NT_GNU_BUILD_ID && name.size() == sizeof ELF_NOTE_GNU &&
         std::memcmp(name.data(), ELF_NOTE_GNU, sizeof ELF_NOTE_GNU) == 0;
}

}  // namespace

void rename_build(ByteWriter& out, std::size_t start, const VdsoNotes& notes,
                  std::span<const std::byte> code) noexcept {
  const std::uint64_t hash = fnv1a(code);
  std::uint64_t place = 0;
  Elf64_Nhdr note;
  while (load(notes.bytes, place, note)) {
    // Sizes are 32 bits wide and the place is inside a span, so none of this wraps around.
    const std::uint64_t id = align_up(place + sizeof note + note.n_namesz, notes.alignment);
    if (is_build_id(notes.bytes, place, note)) {
      const auto bytes = slice(notes.bytes, id, note.n_descsz);
      for (std::size_t i = 0; i < bytes.size(); i++) {
        out.patch(start + id + i, bytes[i] ^ static_cast<std::byte>(hash >> i % sizeof hash * 8));
      }
    }
    place = align_up(id + note.n_descsz, notes.alignment);
  }
}

}  // namespace enclume::kernel
