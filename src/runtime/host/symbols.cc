// SPDX-License-Identifier: Apache-2.0
// The symbol table of an image. Nothing in the file is trusted: somebody may have passed a damaged one.
#include <cxxabi.h>
#include <elf.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "enclume/host/dump.h"
#include "runtime/host/whole_file.h"

namespace enclume {
namespace {

using Bytes = std::vector<char>;

template <typename T>
std::optional<T> at(const Bytes& file, std::uint64_t offset) {
  if (offset > file.size() || file.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

// A string that ends within the file; else empty.
std::string string_at(const Bytes& file, std::uint64_t offset) {
  if (offset >= file.size()) return {};
  const auto begin = file.begin() + static_cast<std::ptrdiff_t>(offset);
  const auto end = std::find(begin, file.end(), '\0');
  return end == file.end() ? std::string() : std::string(begin, end);
}

std::string demangle(const std::string& name) {
  int status = 0;
  char* const plain = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  std::string result = status == 0 ? plain : name;
  std::free(plain);
  return result;
}

struct Symbol {
  std::uint64_t begin, size;
  std::string name;
};

class SymbolTable : public Symbolizer {
 public:
  explicit SymbolTable(std::vector<Symbol> symbols) : symbols_(std::move(symbols)) {
    std::ranges::sort(symbols_, {}, &Symbol::begin);
  }
  [[nodiscard]] std::string describe(std::uint64_t offset) const override {
    auto after = std::ranges::upper_bound(symbols_, offset, {}, &Symbol::begin);
    if (after == symbols_.begin()) return {};
    const Symbol& symbol = *--after;
    // Assembly may have left its size out: then up to the next one.
    if (symbol.size != 0 && offset - symbol.begin >= symbol.size) return {};
    char within[24];
    std::snprintf(within, sizeof within, "+%#lx", offset - symbol.begin);
    return demangle(symbol.name) + within;
  }

 private:
  std::vector<Symbol> symbols_;
};

std::vector<Symbol> read_symbols(const Bytes& file) {
  std::vector<Symbol> symbols;
  const auto header = at<Elf64_Ehdr>(file, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
      header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_shentsize != sizeof(Elf64_Shdr)) {
    return symbols;
  }
  const auto section = [&](std::uint64_t index) {
    return at<Elf64_Shdr>(file, header->e_shoff + index * sizeof(Elf64_Shdr));
  };
  for (std::uint32_t i = 0; i < header->e_shnum; ++i) {
    const auto table = section(i);
    if (!table || table->sh_type != SHT_SYMTAB) continue;
    const auto strings = section(table->sh_link);
    if (!strings) continue;
    for (std::uint64_t n = 0; n < table->sh_size / sizeof(Elf64_Sym); ++n) {
      const auto symbol = at<Elf64_Sym>(file, table->sh_offset + n * sizeof(Elf64_Sym));
      if (!symbol) break;
      const auto type = ELF64_ST_TYPE(symbol->st_info);
      if ((type != STT_FUNC && type != STT_NOTYPE) || symbol->st_shndx == SHN_UNDEF ||
          symbol->st_shndx >= SHN_LORESERVE) {
        continue;
      }
      const auto place = section(symbol->st_shndx);
      if (!place || (place->sh_flags & SHF_EXECINSTR) == 0) continue;
      std::string name = string_at(file, strings->sh_offset + symbol->st_name);
      if (!name.empty()) symbols.push_back({symbol->st_value, symbol->st_size, std::move(name)});
    }
  }
  return symbols;
}

}  // namespace

std::unique_ptr<Symbolizer> symbols_of(const std::string& path) {
  Bytes file;
  if (host::read_whole_file(path.c_str(), file) != 0) return nullptr;
  std::vector<Symbol> symbols = read_symbols(file);
  if (symbols.empty()) return nullptr;
  return std::make_unique<SymbolTable>(std::move(symbols));
}

}  // namespace enclume
