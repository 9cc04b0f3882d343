// SPDX-License-Identifier: Apache-2.0
#include "engine/front/object_symbols.h"

#include <dlfcn.h>
#include <link.h>

#include <cstddef>
#include <cstring>

namespace enclume::engine {

namespace {

std::uint32_t gnu_hash_of(const char* name) {
  std::uint32_t hash = 5381;
  for (; *name != '\0'; ++name) {
    hash = hash * 33 + static_cast<std::uint8_t>(*name);
  }
  return hash;
}

bool is_default_version(const ObjectSymbols& in, std::uint32_t index) {
  constexpr std::uint16_t kHidden = 0x8000;  // VERSYM_HIDDEN
  return in.versions == nullptr || (in.versions[index] & kHidden) == 0;
}

}  // namespace

ObjectSymbols symbols_of(std::uint64_t base, const Elf64_Dyn* dynamic) {
  ObjectSymbols found{.base = base};
  for (; dynamic != nullptr && dynamic->d_tag != DT_NULL; ++dynamic) {
    // ld.so has made these absolute, but where the section can't be written to.
    const std::uint64_t value = dynamic->d_un.d_ptr;
    const std::uint64_t address = value < base ? base + value : value;
    if (dynamic->d_tag == DT_SYMTAB) {
      found.table = reinterpret_cast<const Elf64_Sym*>(address);
    } else if (dynamic->d_tag == DT_STRTAB) {
      found.strings = reinterpret_cast<const char*>(address);
    } else if (dynamic->d_tag == DT_GNU_HASH) {
      found.gnu_hash = reinterpret_cast<const std::uint32_t*>(address);
    } else if (dynamic->d_tag == DT_VERSYM) {
      found.versions = reinterpret_cast<const std::uint16_t*>(address);
    }
  }
  return found;
}

// The layout of DT_GNU_HASH: counts of buckets, of symbols before the first one, of words of the Bloom
// filter, its shift; the filter; the buckets; the chains.
const Elf64_Sym* find_symbol(const ObjectSymbols& in, const char* name) {
  const std::uint32_t buckets = in.gnu_hash[0];
  const std::uint32_t* const bucket = in.gnu_hash + 4 + std::size_t{2} * in.gnu_hash[2];
  const std::uint32_t* const chain = bucket + buckets;
  if (buckets == 0) {
    return nullptr;
  }
  const std::uint32_t hash = gnu_hash_of(name);
  std::uint32_t at = bucket[hash % buckets];
  if (at < in.first_hashed()) {
    return nullptr;
  }
  for (;; ++at) {
    const std::uint32_t entry = chain[at - in.first_hashed()];
    if ((entry | 1U) == (hash | 1U) && std::strcmp(in.name_of(in.table[at]), name) == 0 &&
        is_default_version(in, at)) {
      return in.table[at].st_shndx != SHN_UNDEF ? &in.table[at] : nullptr;
    }
    if ((entry & 1U) != 0) {
      return nullptr;
    }
  }
}

void* next_function_at_start(const char* name) {
  const link_map* object = _r_debug.r_map;
  while (object != nullptr && object->l_ld != _DYNAMIC) {
    object = object->l_next;
  }
  while (object != nullptr && (object = object->l_next) != nullptr) {
    const ObjectSymbols symbols = symbols_of(object->l_addr, object->l_ld);
    const Elf64_Sym* const symbol = symbols.complete() ? find_symbol(symbols, name) : nullptr;
    if (symbol != nullptr && ELF64_ST_TYPE(symbol->st_info) == STT_FUNC) {
      return reinterpret_cast<void*>(object->l_addr + symbol->st_value);
    }
    if (symbol != nullptr || !symbols.complete()) {
      break;  // for the dynamic linker to say
    }
  }
  return dlsym(RTLD_NEXT, name);
}

}  // namespace enclume::engine
