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
#include "engine/front/object_symbols.h"

extern "C" const char __ehdr_start[] __attribute__((visibility("hidden")));

namespace enclume::engine {

namespace {

/// The last object when such a dlopen() was made; new ones are put behind it. Never dereferenced. Two at
/// once: the later one counts, and what it does to the other's objects is right for them, too.
constinit std::atomic<const link_map*> last_before{nullptr};

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
    const ObjectSymbols symbols = symbols_of(object->l_addr, object->l_ld);
    if (symbols.complete() && find_symbol(symbols, name) != nullptr) {
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
  const ObjectSymbols doors = symbols_of(base, _DYNAMIC);
  TextWriter writer;
  for (const link_map* object = added; doors.complete() && object != nullptr; object = object->l_next) {
    const ObjectSymbols symbols = symbols_of(object->l_addr, object->l_ld);
    if (!symbols.complete()) {
      continue;
    }
    for (const Elf64_Sym& reference : std::span(symbols.table, symbols.first_hashed()).subspan(1)) {
      const char* const name = symbols.name_of(reference);
      const bool by_name =
          reference.st_shndx == SHN_UNDEF && ELF64_ST_VISIBILITY(reference.st_other) == STV_DEFAULT;
      if (const Elf64_Sym* door = by_name ? find_symbol(doors, name) : nullptr;
          door != nullptr && ELF64_ST_TYPE(door->st_info) == STT_FUNC && !is_defined_behind(added, name)) {
        bind(reference, object->l_addr, base + door->st_value, writer);
      }
    }
  }
}

}  // namespace enclume::engine
