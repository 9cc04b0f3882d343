// SPDX-License-Identifier: Apache-2.0
// The symbol table of an ELF file. The file may be anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "trace/event.h"

namespace enclume::engine {

/// Signal context: safe.
class ElfSymbols {
 public:
  ElfSymbols() = default;
  /// Nothing is found in what is no 64-bit little-endian ELF file. `file` has to stay.
  explicit ElfSymbols(std::span<const std::byte> file) noexcept;

  /// Of the byte at this place in the file: by .symtab, or .dynsym if there is none. The nearest one before,
  /// unless it has a size and ends before.
  [[nodiscard]] std::optional<trace::Symbol> find(std::uint64_t file_offset) const noexcept;

 private:
  template <typename T>
  [[nodiscard]] std::optional<T> read(std::uint64_t offset) const noexcept;
  [[nodiscard]] std::optional<std::uint64_t> address_of(std::uint64_t file_offset) const noexcept;
  [[nodiscard]] std::string_view name_at(std::uint64_t offset) const noexcept;

  std::span<const std::byte> file_;
  std::uint64_t segments_ = 0, symbols_ = 0, names_ = 0, names_size_ = 0;  // where in the file
  std::uint64_t segment_count_ = 0, symbol_count_ = 0;
};

}  // namespace enclume::engine
