// SPDX-License-Identifier: Apache-2.0
// Which symbols and versions the new image has, and the tables that they are looked up by.
#pragma once

#include <elf.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string_view>

#include "base/types.h"
#include "kernel/vdso/elf_bytes.h"
#include "kernel/vdso/machine_vdso.h"

namespace enclume::kernel {

inline constexpr std::string_view kVdsoSoname = "linux-vdso.so.1";

/// One symbol of the new image.
struct ImageSymbol {
  std::string_view name;
  std::uint32_t name_offset = 0;  ///< In .dynstr; set by write_strings().
  std::uint32_t gnu_hash = 0;
  std::uint16_t version = 0;  ///< As in .gnu.version.
  /// As it will be in .dynsym, but for st_name. Of a function value, size and section are filled in when its
  /// place in the image is known.
  Elf64_Sym entry = {};
  /// For a function of the machine's: its offset in the machine's vDSO.
  std::optional<std::uint64_t> machine_offset;
  bool placed_data = false;  ///< Data of the machine's: its value is an address of this address space.
};

/// The symbols of a vDSO in the order of .dynsym, without the null symbol.
class SymbolSet {
 public:
  /// Takes over what `machine` has; data symbols become absolute addresses, seen from `machine_address`.
  /// Symbols that nobody can look up (undefined, local, sections, files, thread-local) are left out, as are
  /// the machine's functions to enter enclaves by. `entry` is the name of ours, if there is one.
  /// Signal context: safe.
  [[nodiscard]] std::expected<void, VdsoError> collect(const MachineVdso& machine,
                                                       LinearAddress machine_address,
                                                       std::optional<std::string_view> entry) noexcept;

  [[nodiscard]] std::span<ImageSymbol> symbols() noexcept { return {symbols_.data(), count_}; }
  [[nodiscard]] std::span<const VdsoVersion> versions() const noexcept {
    return {versions_.data(), version_count_};
  }

  // Each appends one section, in this order: the others need write_strings()'s offsets.
  // Signal context: safe.
  void write_strings(ByteWriter& out) noexcept;                ///< .dynstr
  void write_symbols(ByteWriter& out) const noexcept;          ///< .dynsym
  void write_symbol_versions(ByteWriter& out) const noexcept;  ///< .gnu.version
  void write_versions(ByteWriter& out) const noexcept;         ///< .gnu.version_d
  void write_hash(ByteWriter& out) const noexcept;             ///< .hash
  void write_gnu_hash(ByteWriter& out) const noexcept;         ///< .gnu.hash

  /// Offset of the SONAME in .dynstr.
  [[nodiscard]] std::uint32_t soname_offset() const noexcept { return soname_offset_; }

 private:
  [[nodiscard]] std::expected<void, VdsoError> collect_versions(const MachineVdso& machine,
                                                                bool needs_ours) noexcept;
  [[nodiscard]] std::expected<void, VdsoError> add(const VdsoSymbol& symbol, LinearAddress machine_address,
                                                   std::size_t machine_size) noexcept;
  void add_entry(std::string_view name) noexcept;
  [[nodiscard]] std::uint32_t bucket_count() const noexcept;
  void sort_by_gnu_bucket() noexcept;

  std::array<ImageSymbol, kMaxVdsoSymbols> symbols_ = {};
  std::size_t count_ = 0;
  std::array<VdsoVersion, kMaxVdsoVersions> versions_ = {};
  std::array<std::uint32_t, kMaxVdsoVersions> version_names_ = {};  ///< Offsets in .dynstr.
  std::size_t version_count_ = 0;
  std::uint32_t soname_offset_ = 0;
};

}  // namespace enclume::kernel
