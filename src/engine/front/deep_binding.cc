// SPDX-License-Identifier: Apache-2.0
#include "engine/front/deep_binding.h"

#include <elf.h>
#include <link.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "base/syscall.h"
#include "engine/cpuid/text_writer.h"

extern "C" const char __ehdr_start[] __attribute__((visibility("hidden")));

namespace enclume::engine {

namespace {

/// The last object when such a dlopen() was made; new ones are put behind it. Never dereferenced. Two at
/// once: the later one counts, and what it does to the other's objects is right for them, too.
constinit std::atomic<const link_map*> last_before{nullptr};

/// The symbols of an object. (DT_HASH is what no object of today's has alone; such ones are left as they
/// are.)
struct Symbols {
  std::uint64_t base = 0;
  const Elf64_Sym* table = nullptr;
  const char* strings = nullptr;
  const std::uint32_t* gnu_hash = nullptr;

  [[nodiscard]] bool complete() const {
    return table != nullptr && strings != nullptr && gnu_hash != nullptr;
  }
  [[nodiscard]] const char* name_of(const Elf64_Sym& symbol) const { return strings + symbol.st_name; }
  /// In front of these nothing is in the hash table: what the object refers to.
  [[nodiscard]] std::uint32_t first_hashed() const { return gnu_hash[1]; }
};

Symbols symbols_of(std::uint64_t base, const Elf64_Dyn* dynamic) {
  Symbols found{.base = base};
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
    }
  }
  return found;
}

std::uint32_t gnu_hash_of(std::string_view name) {
  std::uint32_t hash = 5381;
  for (const char c : name) {
    hash = hash * 33 + static_cast<std::uint8_t>(c);
  }
  return hash;
}

/// The definition of a function in an object; null if there is none. The layout of DT_GNU_HASH: counts of
/// buckets, of symbols before the first one, of words of the Bloom filter, its shift; the filter; the
/// buckets; the chains.
const Elf64_Sym* find(const Symbols& in, const char* name) {
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
    if ((entry | 1U) == (hash | 1U) && std::strcmp(in.name_of(in.table[at]), name) == 0) {
      return in.table[at].st_shndx != SHN_UNDEF ? &in.table[at] : nullptr;
    }
    if ((entry & 1U) != 0) {
      return nullptr;
    }
  }
}

const link_map* first_new() {
  const link_map* const last = last_before.load(std::memory_order_relaxed);
  const link_map* object = last != nullptr ? _r_debug.r_map : nullptr;
  while (object != nullptr && object != last) {
    object = object->l_next;
  }
  return object != nullptr ? object->l_next : nullptr;
}

/// Whether one of the new objects has a function of that name, which would be found before libc's.
bool is_defined_behind(const link_map* object, const char* name) {
  for (; object != nullptr; object = object->l_next) {
    const Symbols symbols = symbols_of(object->l_addr, object->l_ld);
    if (symbols.complete() && find(symbols, name) != nullptr) {
      return true;
    }
  }
  return false;
}

/// Makes the reference one to a function of the object's own, at an address that lies elsewhere: what is
/// hidden is not looked for by name.
void bind(const Elf64_Sym& reference, std::uint64_t base, std::uint64_t function, TextWriter& writer) {
  Elf64_Sym bound = reference;
  bound.st_value = function - base;
  bound.st_shndx = 1;  // any
  bound.st_other = STV_HIDDEN;
  std::array<std::uint8_t, sizeof(bound)> bytes;
  std::memcpy(bytes.data(), &bound, sizeof(bound));
  // Its visibility is the last of it to change.
  const auto address = reinterpret_cast<std::uint64_t>(&reference);
  for (std::size_t i = bytes.size(); i-- > 0;) {
    if (reinterpret_cast<const std::uint8_t*>(&reference)[i] != bytes[i] &&
        !writer.write(address + i, bytes[i], PROT_READ)) {
      return;
    }
  }
}

}  // namespace

void expect_deep_binding() noexcept {
  const link_map* last = _r_debug.r_map;
  while (last != nullptr && last->l_next != nullptr) {
    last = last->l_next;
  }
  last_before.store(last, std::memory_order_relaxed);
}

void bind_front_doors() noexcept {
  const link_map* const added = first_new();
  if (added == nullptr) {
    return;
  }
  const auto base = reinterpret_cast<std::uint64_t>(__ehdr_start);
  const Symbols doors = symbols_of(base, _DYNAMIC);
  TextWriter writer;
  for (const link_map* object = added; doors.complete() && object != nullptr; object = object->l_next) {
    const Symbols symbols = symbols_of(object->l_addr, object->l_ld);
    if (!symbols.complete()) {
      continue;
    }
    for (const Elf64_Sym& reference : std::span(symbols.table, symbols.first_hashed()).subspan(1)) {
      const char* const name = symbols.name_of(reference);
      const bool by_name =
          reference.st_shndx == SHN_UNDEF && ELF64_ST_VISIBILITY(reference.st_other) == STV_DEFAULT;
      if (const Elf64_Sym* door = by_name ? find(doors, name) : nullptr;
          door != nullptr && ELF64_ST_TYPE(door->st_info) == STT_FUNC && !is_defined_behind(added, name)) {
        bind(reference, object->l_addr, base + door->st_value, writer);
      }
    }
  }
}

}  // namespace enclume::engine
