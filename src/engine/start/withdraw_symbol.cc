// SPDX-License-Identifier: Apache-2.0
#include "engine/start/withdraw_symbol.h"

#include <elf.h>
#include <link.h>
#include <sys/mman.h>

#include <cstdint>
#include <span>

#include "base/syscall.h"
#include "base/types.h"

extern "C" const char __ehdr_start[] __attribute__((visibility("hidden")));

namespace enclume::engine {

namespace {

/// The parts of a loaded object's dynamic section that name and place symbols.
struct Object {
  std::uint64_t base = 0;
  const Elf64_Sym* symbols = nullptr;
  const char* strings = nullptr;
  std::span<const Elf64_Rela> relocations;
  std::span<const Elf64_Rela> jump_slots;
  LinearRange read_only_later;  ///< PT_GNU_RELRO: writable while ld.so relocates, not now
};

template <typename T>
const T* at(std::uint64_t address) {
  return reinterpret_cast<const T*>(address);
}

/// ld.so has made these addresses absolute, but for the vDSO's, whose dynamic section it can't write to.
std::uint64_t absolute(const Object& object, std::uint64_t value) {
  return value < object.base ? object.base + value : value;
}

Object read(const dl_phdr_info& info) {
  Object object{.base = info.dlpi_addr, .relocations = {}, .jump_slots = {}, .read_only_later = {}};
  const Elf64_Dyn* dynamic = nullptr;
  for (const Elf64_Phdr& segment : std::span(info.dlpi_phdr, info.dlpi_phnum)) {
    if (segment.p_type == PT_DYNAMIC) {
      dynamic = at<Elf64_Dyn>(object.base + segment.p_vaddr);
    } else if (segment.p_type == PT_GNU_RELRO) {
      // Whole pages only, as ld.so protects them.
      const std::uint64_t begin = object.base + segment.p_vaddr;
      object.read_only_later = {LinearAddress(align_down(begin, kPageSize)),
                                LinearAddress(align_down(begin + segment.p_memsz, kPageSize))};
    }
  }
  if (dynamic == nullptr) {
    return object;
  }
  const Elf64_Rela* relocations = nullptr;
  const Elf64_Rela* jump_slots = nullptr;
  std::size_t size = 0;
  std::size_t jump_size = 0;
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    const std::uint64_t value = dynamic->d_un.d_val;
    switch (dynamic->d_tag) {
      case DT_SYMTAB:
        object.symbols = at<Elf64_Sym>(absolute(object, value));
        break;
      case DT_STRTAB:
        object.strings = at<char>(absolute(object, value));
        break;
      case DT_RELA:
        relocations = at<Elf64_Rela>(absolute(object, value));
        break;
      case DT_RELASZ:
        size = value;
        break;
      case DT_JMPREL:
        jump_slots = at<Elf64_Rela>(absolute(object, value));
        break;
      case DT_PLTRELSZ:
        jump_size = value;
        break;
      default:
        break;
    }
  }
  if (object.symbols != nullptr && object.strings != nullptr) {
    object.relocations = {relocations, size / sizeof(Elf64_Rela)};
    object.jump_slots = {jump_slots, jump_size / sizeof(Elf64_Rela)};
  }
  return object;
}

/// Writes a word into memory that may be read-only at the moment, and leaves its protection as it was.
void poke(std::uint64_t address, std::uint64_t word, bool read_only) {
  const std::uint64_t page = align_down(address, kPageSize);
  const std::uint64_t length = align_up(address + sizeof(word), kPageSize) - page;
  if (read_only && !sys::call(__NR_mprotect, page, length, PROT_READ | PROT_WRITE)) {
    return;
  }
  *reinterpret_cast<std::uint64_t*>(address) = word;
  if (read_only) {
    sys::raw(__NR_mprotect, static_cast<long>(page), static_cast<long>(length), PROT_READ);
  }
}

/// An undefined symbol has neither section nor value: the first two words of its entry. The table of the
/// engine, as its linker lays it out, ends where the strings begin.
void undefine(const Object& object, std::string_view name) {
  for (const Elf64_Sym* symbol = object.symbols;
       at<char>(reinterpret_cast<std::uint64_t>(symbol + 1)) <= object.strings; ++symbol) {
    if (symbol->st_shndx != SHN_UNDEF && object.strings + symbol->st_name == name) {
      Elf64_Sym none = *symbol;
      none.st_shndx = SHN_UNDEF;
      none.st_value = 0;
      std::uint64_t words[2];
      static_assert(sizeof(words) <= sizeof(none));
      __builtin_memcpy(words, &none, sizeof(words));
      const auto place = reinterpret_cast<std::uint64_t>(symbol);
      poke(place, words[0], true);
      poke(place + sizeof(words[0]), words[1], true);
    }
  }
}

void unbind(const Object& object, std::span<const Elf64_Rela> relocations, std::string_view name) {
  for (const Elf64_Rela& relocation : relocations) {
    const auto type = ELF64_R_TYPE(relocation.r_info);
    if (type != R_X86_64_GLOB_DAT && type != R_X86_64_JUMP_SLOT && type != R_X86_64_64) {
      continue;
    }
    const Elf64_Sym& symbol = object.symbols[ELF64_R_SYM(relocation.r_info)];
    if (symbol.st_shndx != SHN_UNDEF || ELF64_ST_BIND(symbol.st_info) != STB_WEAK ||
        object.strings + symbol.st_name != name) {
      continue;
    }
    const std::uint64_t place = object.base + relocation.r_offset;
    const std::uint64_t nothing = type == R_X86_64_64 ? static_cast<std::uint64_t>(relocation.r_addend) : 0;
    poke(place, nothing, object.read_only_later.contains(LinearAddress(place)));
  }
}

int visit(dl_phdr_info* info, std::size_t /*size*/, void* data) {
  const auto& name = *static_cast<const std::string_view*>(data);
  const Object object = read(*info);
  if (object.base == reinterpret_cast<std::uint64_t>(__ehdr_start)) {
    undefine(object, name);
  } else {
    unbind(object, object.relocations, name);
    unbind(object, object.jump_slots, name);
  }
  return 0;
}

}  // namespace

void withdraw_symbol(std::string_view name) {
  dl_iterate_phdr(&visit, &name);
}

}  // namespace enclume::engine
