// SPDX-License-Identifier: Apache-2.0
#include "kernel/vdso/machine_vdso.h"

#include <algorithm>

#include "kernel/vdso/elf_bytes.h"

namespace enclume::kernel {
namespace {

using Failure = std::unexpected<VdsoError>;

// No table of an image that we accept is longer, so loops over hostile counts end soon.
constexpr std::uint64_t kMaxTableEntries = 8 * kMaxVdsoSymbols;
constexpr std::uint64_t kMaxProgramHeaders = 32;
constexpr std::uint64_t kMaxDynamicEntries = 256;

bool is_our_kind(const Elf64_Ehdr& header) {
  return std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == ELFCLASS64 &&
         header.e_ident[EI_DATA] == ELFDATA2LSB && header.e_type == ET_DYN && header.e_machine == EM_X86_64 &&
         header.e_phentsize == sizeof(Elf64_Phdr) && header.e_phnum <= kMaxProgramHeaders;
}

/// End of a table of `count` entries at `offset`; false if that wraps around.
bool table_end(std::uint64_t offset, std::uint64_t count, std::uint64_t entry_size, std::uint64_t& end) {
  return !__builtin_mul_overflow(count, entry_size, &end) && !__builtin_add_overflow(offset, end, &end);
}

}  // namespace

const char* describe(VdsoError error) noexcept {
  switch (error) {
    case VdsoError::NotElf:
      return "not an x86-64 ELF shared object";
    case VdsoError::Truncated:
      return "a table runs past the end of the image";
    case VdsoError::NoLoadSegment:
      return "no PT_LOAD segment";
    case VdsoError::NoDynamicSegment:
      return "no usable PT_DYNAMIC segment";
    case VdsoError::NoSymbolCount:
      return "nothing says how many symbols there are";
    case VdsoError::BadSymbol:
      return "a symbol lies outside the image";
    case VdsoError::TooLarge:
      return "more symbols, versions, notes or code than expected";
    case VdsoError::BadEntryCode:
      return "the entry code's description contradicts itself";
    case VdsoError::OutputTooSmall:
      return "no room for the new image";
  }
  return "unknown error";
}

std::expected<std::size_t, VdsoError> vdso_size(std::span<const std::byte> head) noexcept {
  Elf64_Ehdr header;
  if (!load(head, 0, header) || !is_our_kind(header)) {
    return Failure(VdsoError::NotElf);
  }
  std::uint64_t size = 0;
  if (!table_end(header.e_shoff, header.e_shnum, header.e_shentsize, size)) {
    return Failure(VdsoError::Truncated);
  }
  bool loads = false;
  for (std::uint64_t i = 0; i < header.e_phnum; i++) {
    Elf64_Phdr segment;
    if (!load(head, header.e_phoff + i * sizeof segment, segment)) {
      return Failure(VdsoError::Truncated);
    }
    if (segment.p_type != PT_LOAD) {
      continue;
    }
    std::uint64_t end = 0;
    if (!table_end(segment.p_offset, 1, segment.p_filesz, end)) {
      return Failure(VdsoError::Truncated);
    }
    loads = true;
    size = std::max(size, end);
  }
  if (!loads) {
    return Failure(VdsoError::NoLoadSegment);
  }
  return size;
}

std::expected<MachineVdso, VdsoError> MachineVdso::parse(std::span<const std::byte> image) noexcept {
  MachineVdso vdso(image);
  if (!load(image, 0, vdso.header_) || !is_our_kind(vdso.header_)) {
    return Failure(VdsoError::NotElf);
  }
  if (const auto read = vdso.read_segments(); !read) {
    return Failure(read.error());
  }
  if (const auto read = vdso.read_dynamic(); !read) {
    return Failure(read.error());
  }
  if (const auto read = vdso.read_versions(); !read) {
    return Failure(read.error());
  }
  const auto count = vdso.count_symbols();
  if (!count) {
    return Failure(count.error());
  }
  Elf64_Sym last;
  if (*count > kMaxTableEntries) {
    return Failure(VdsoError::TooLarge);
  }
  if (*count > 0 && !load(image, vdso.symtab_ + (*count - 1) * sizeof last, last)) {
    return Failure(VdsoError::Truncated);
  }
  vdso.symbol_count_ = *count;
  return vdso;
}

std::expected<void, VdsoError> MachineVdso::read_segments() noexcept {
  bool loads = false;
  for (std::uint64_t i = 0; i < header_.e_phnum; i++) {
    Elf64_Phdr segment;
    if (!load(image_, header_.e_phoff + i * sizeof segment, segment)) {
      return Failure(VdsoError::Truncated);
    }
    switch (segment.p_type) {
      case PT_LOAD:
        if (!loads) {
          bias_ = segment.p_vaddr - segment.p_offset;
        }
        loads = true;
        break;
      case PT_DYNAMIC:
        dynamic_ = slice(image_, segment.p_offset, segment.p_filesz);
        break;
      case PT_GNU_STACK:
        stack_flags_ = segment.p_flags;
        break;
      case PT_NOTE:
        if (segment.p_filesz == 0) {
          break;
        }
        if (note_count_ == kMaxVdsoNotes) {
          return Failure(VdsoError::TooLarge);
        }
        notes_[note_count_] = {slice(image_, segment.p_offset, segment.p_filesz),
                               segment.p_align == 8 ? 8U : 4U};
        if (notes_[note_count_].bytes.empty()) {
          return Failure(VdsoError::Truncated);
        }
        note_count_++;
        break;
      default:
        break;
    }
  }
  if (!loads) {
    return Failure(VdsoError::NoLoadSegment);
  }
  return {};
}

std::expected<void, VdsoError> MachineVdso::read_dynamic() noexcept {
  std::uint64_t strtab = 0;
  std::uint64_t strtab_size = 0;
  Elf64_Dyn entry;
  for (std::uint64_t i = 0; i < kMaxDynamicEntries; i++) {
    if (!load(dynamic_, i * sizeof entry, entry) || entry.d_tag == DT_NULL) {
      break;
    }
    const std::uint64_t place = offset_of(entry.d_un.d_ptr);
    switch (entry.d_tag) {
      case DT_SYMTAB:
        symtab_ = place;
        break;
      case DT_STRTAB:
        strtab = place;
        break;
      case DT_STRSZ:
        strtab_size = entry.d_un.d_val;
        break;
      case DT_HASH:
        hash_ = place;
        break;
      case DT_GNU_HASH:
        gnu_hash_ = place;
        break;
      case DT_VERSYM:
        versym_ = place;
        break;
      case DT_VERDEF:
        verdef_ = place;
        break;
      case DT_VERDEFNUM:
        verdef_count_ = entry.d_un.d_val;
        break;
      default:
        break;
    }
  }
  if (symtab_ == 0 || strtab == 0) {
    return Failure(VdsoError::NoDynamicSegment);
  }
  strtab_ = slice(image_, strtab, strtab_size);
  if (strtab_.empty()) {
    return Failure(VdsoError::Truncated);
  }
  return {};
}

std::expected<void, VdsoError> MachineVdso::read_versions() noexcept {
  if (verdef_ == 0) {
    return {};
  }
  std::uint64_t place = verdef_;
  for (std::uint64_t i = 0; i < verdef_count_; i++) {
    if (version_count_ == kMaxVdsoVersions) {
      return Failure(VdsoError::TooLarge);
    }
    Elf64_Verdef definition;
    Elf64_Verdaux first;
    if (!load(image_, place, definition) || !load(image_, place + definition.vd_aux, first)) {
      return Failure(VdsoError::Truncated);
    }
    const auto name = string_at(first.vda_name);
    if (!name) {
      return Failure(name.error());
    }
    versions_[version_count_++] = {*name, definition.vd_ndx, definition.vd_flags};
    if (definition.vd_next == 0) {
      break;
    }
    place += definition.vd_next;
  }
  return {};
}

std::expected<std::size_t, VdsoError> MachineVdso::count_symbols() const noexcept {
  if (hash_ != 0) {
    std::uint32_t chain_count = 0;
    if (!load(image_, hash_ + sizeof(std::uint32_t), chain_count)) {
      return Failure(VdsoError::Truncated);
    }
    return chain_count;
  }
  if (gnu_hash_ != 0) {
    return count_by_gnu_hash();
  }
  for (std::uint64_t i = 0; i < header_.e_shnum; i++) {
    Elf64_Shdr section;
    if (section_header(i, section) && section.sh_type == SHT_DYNSYM) {
      return section.sh_size / sizeof(Elf64_Sym);
    }
  }
  return Failure(VdsoError::NoSymbolCount);
}

std::expected<std::size_t, VdsoError> MachineVdso::count_by_gnu_hash() const noexcept {
  // Header: buckets, first hashed symbol, quadwords of the Bloom filter, shift. The highest symbol that a
  // bucket names begins the last chain, which ends at a hash value with bit 0 set.
  std::array<std::uint32_t, 4> head;
  if (!load(image_, gnu_hash_, head)) {
    return Failure(VdsoError::Truncated);
  }
  const auto [bucket_count, first_symbol, bloom_words, bloom_shift] = head;
  if (bucket_count > kMaxTableEntries || first_symbol > kMaxTableEntries || bloom_words > kMaxTableEntries) {
    return Failure(VdsoError::TooLarge);
  }
  const std::uint64_t buckets = gnu_hash_ + sizeof head + bloom_words * sizeof(std::uint64_t);
  std::uint32_t last = 0;
  for (std::uint64_t i = 0; i < bucket_count; i++) {
    std::uint32_t bucket = 0;
    if (!load(image_, buckets + i * sizeof bucket, bucket)) {
      return Failure(VdsoError::Truncated);
    }
    last = std::max(last, bucket);
  }
  if (last < first_symbol) {
    return first_symbol;
  }
  const std::uint64_t chains = buckets + bucket_count * sizeof(std::uint32_t);
  for (; last < kMaxTableEntries; last++) {
    std::uint32_t hash = 0;
    if (!load(image_, chains + (last - first_symbol) * sizeof hash, hash)) {
      return Failure(VdsoError::Truncated);
    }
    if ((hash & 1) != 0) {
      return last + 1;
    }
  }
  return Failure(VdsoError::TooLarge);
}

std::expected<VdsoSymbol, VdsoError> MachineVdso::symbol(std::size_t index) const noexcept {
  VdsoSymbol symbol;
  if (index >= symbol_count_ || !load(image_, symtab_ + index * sizeof symbol.entry, symbol.entry)) {
    return Failure(VdsoError::Truncated);
  }
  const auto name = string_at(symbol.entry.st_name);
  if (!name) {
    return Failure(name.error());
  }
  symbol.name = *name;
  symbol.version = VER_NDX_GLOBAL;
  if (versym_ != 0 && !load(image_, versym_ + index * sizeof symbol.version, symbol.version)) {
    return Failure(VdsoError::Truncated);
  }
  symbol.offset = offset_of(symbol.entry.st_value);
  Elf64_Shdr section;
  symbol.in_code_section = symbol.entry.st_shndx < SHN_LORESERVE &&
                           section_header(symbol.entry.st_shndx, section) &&
                           (section.sh_flags & SHF_EXECINSTR) != 0;
  return symbol;
}

std::expected<std::string_view, VdsoError> MachineVdso::string_at(std::uint64_t name) const noexcept {
  if (name >= strtab_.size()) {
    return Failure(VdsoError::Truncated);
  }
  const auto rest = strtab_.subspan(name);
  const auto end = std::find(rest.begin(), rest.end(), std::byte{0});
  if (end == rest.end()) {
    return Failure(VdsoError::Truncated);
  }
  return std::string_view(reinterpret_cast<const char*>(rest.data()),
                          static_cast<std::size_t>(end - rest.begin()));
}

bool MachineVdso::section_header(std::uint64_t index, Elf64_Shdr& header) const noexcept {
  return header_.e_shoff != 0 && header_.e_shentsize == sizeof header && index < header_.e_shnum &&
         load(image_, header_.e_shoff + index * sizeof header, header);
}

}  // namespace enclume::kernel
