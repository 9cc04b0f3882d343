// SPDX-License-Identifier: Apache-2.0
//
// Finds a vDSO function as SGX runtimes do: by the ELF image in memory, not by the dynamic linker.
#include <elf.h>
#include <sys/auxv.h>

#include <cstring>

#include "enclaves/call_enclave.h"

namespace enclume::test {
namespace {

struct DynamicSymbols {
  const Elf64_Sym* symbols = nullptr;
  const char* strings = nullptr;
  const std::uint32_t* sysv_hash = nullptr;
  const std::uint32_t* gnu_hash = nullptr;
};

DynamicSymbols dynamic_symbols(const char* image) {
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image);
  const auto* segments = reinterpret_cast<const Elf64_Phdr*>(image + header->e_phoff);
  DynamicSymbols result;
  for (int i = 0; i < header->e_phnum; ++i) {
    if (segments[i].p_type != PT_DYNAMIC) continue;
    for (const auto* entry = reinterpret_cast<const Elf64_Dyn*>(image + segments[i].p_offset);
         entry->d_tag != DT_NULL; ++entry) {
      const char* at = image + entry->d_un.d_ptr;
      switch (entry->d_tag) {
        case DT_SYMTAB:
          result.symbols = reinterpret_cast<const Elf64_Sym*>(at);
          break;
        case DT_STRTAB:
          result.strings = at;
          break;
        case DT_HASH:
          result.sysv_hash = reinterpret_cast<const std::uint32_t*>(at);
          break;
        case DT_GNU_HASH:
          result.gnu_hash = reinterpret_cast<const std::uint32_t*>(at);
          break;
        default:
          break;
      }
    }
  }
  return result;
}

// The number of symbols, from whichever hash table there is.
std::uint32_t symbol_count(const DynamicSymbols& table) {
  if (table.sysv_hash != nullptr) return table.sysv_hash[1];
  if (table.gnu_hash == nullptr) return 0;
  const std::uint32_t buckets = table.gnu_hash[0], first = table.gnu_hash[1], bloom_words = table.gnu_hash[2];
  const std::uint32_t* bucket = table.gnu_hash + 4 + 2 * bloom_words;
  std::uint32_t last = 0;
  for (std::uint32_t i = 0; i < buckets; ++i) last = bucket[i] > last ? bucket[i] : last;
  if (last < first) return first;
  const std::uint32_t* chain = bucket + buckets;
  while ((chain[last - first] & 1) == 0) ++last;
  return last + 1;
}

}  // namespace

vdso_sgx_enter_enclave_t find_vdso_function() {
  const auto* image = reinterpret_cast<const char*>(getauxval(AT_SYSINFO_EHDR));
  if (image == nullptr) return nullptr;
  const DynamicSymbols table = dynamic_symbols(image);
  if (table.symbols == nullptr || table.strings == nullptr) return nullptr;
  const std::uint32_t count = symbol_count(table);
  for (std::uint32_t i = 0; i < count; ++i) {
    const Elf64_Sym& symbol = table.symbols[i];
    if (symbol.st_shndx != SHN_UNDEF &&
        std::strcmp(table.strings + symbol.st_name, "__vdso_sgx_enter_enclave") == 0) {
      return reinterpret_cast<vdso_sgx_enter_enclave_t>(reinterpret_cast<std::uint64_t>(image) +
                                                        symbol.st_value);
    }
  }
  return nullptr;
}

}  // namespace enclume::test
