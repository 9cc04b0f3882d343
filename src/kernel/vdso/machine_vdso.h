// SPDX-License-Identifier: Apache-2.0
// Reads a vDSO image as it lies in memory. Input is not trusted: every offset is checked against the
// bytes given, and a contradiction is an error value.
#pragma once

#include <elf.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string_view>

namespace enclume::kernel {

enum class VdsoError : std::uint8_t {
  NotElf,            ///< No ELF header, or not a 64-bit little-endian x86-64 shared object.
  Truncated,         ///< A table or string runs past the end of the bytes.
  NoLoadSegment,     ///< No PT_LOAD.
  NoDynamicSegment,  ///< No PT_DYNAMIC, or without DT_SYMTAB and DT_STRTAB.
  NoSymbolCount,     ///< Neither DT_HASH nor DT_GNU_HASH nor a section header says how many symbols.
  BadSymbol,         ///< A symbol's value lies outside the image.
  TooLarge,          ///< More symbols, versions, names, notes or code than the limits below.
  BadEntryCode,      ///< The entry code's offsets lie outside it.
  OutputTooSmall,    ///< The caller's buffer ends before the image does.
};

/// A short English phrase. Signal context: safe.
[[nodiscard]] const char* describe(VdsoError error) noexcept;

/// Limits, generous beside any known vDSO (14 symbols, 2 versions, 112 bytes of notes in Linux 6.18).
inline constexpr std::size_t kMaxVdsoSymbols = 48;
inline constexpr std::size_t kMaxVdsoVersions = 16;
inline constexpr std::size_t kMaxVdsoNotes = 4;

/// Bytes from the image's start to its end, as its headers have it: the end of its segments or of its section
/// header table, whichever is later (the kernel maps the whole file). `head` is what is known to be
/// readable at its start, at least one page; all program headers must lie in it.
/// Signal context: safe.
[[nodiscard]] std::expected<std::size_t, VdsoError> vdso_size(std::span<const std::byte> head) noexcept;

struct VdsoSymbol {
  std::string_view name;         ///< Points into the image.
  Elf64_Sym entry = {};          ///< As in the image.
  std::uint16_t version = 0;     ///< As in .gnu.version, hidden bit included; VER_NDX_GLOBAL without one.
  std::uint64_t offset = 0;      ///< Where it lies in the image; meaningless if it is absolute or undefined.
  bool in_code_section = false;  ///< Its section header says SHF_EXECINSTR.
};

struct VdsoVersion {
  std::string_view name;  ///< Points into the image.
  std::uint16_t index = 0;
  std::uint16_t flags = 0;
};

struct VdsoNotes {
  std::span<const std::byte> bytes;  ///< Points into the image.
  std::uint64_t alignment = 4;
};

/// A parsed vDSO image. Refers to the bytes that it was parsed from.
class MachineVdso {
 public:
  /// `image` is the whole image, see vdso_size(). Signal context: safe.
  [[nodiscard]] static std::expected<MachineVdso, VdsoError> parse(std::span<const std::byte> image) noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return image_.size(); }

  /// Entries of .dynsym, the null symbol included; at most 8 * kMaxVdsoSymbols.
  [[nodiscard]] std::size_t symbol_count() const noexcept { return symbol_count_; }
  /// One of them. Signal context: safe.
  [[nodiscard]] std::expected<VdsoSymbol, VdsoError> symbol(std::size_t index) const noexcept;

  /// The version definitions, the base one included.
  [[nodiscard]] std::span<const VdsoVersion> versions() const noexcept {
    return {versions_.data(), version_count_};
  }
  /// One for each PT_NOTE that is not empty.
  [[nodiscard]] std::span<const VdsoNotes> notes() const noexcept { return {notes_.data(), note_count_}; }
  /// p_flags of PT_GNU_STACK, if there is one.
  [[nodiscard]] std::optional<std::uint32_t> stack_flags() const noexcept { return stack_flags_; }

 private:
  explicit MachineVdso(std::span<const std::byte> image) noexcept : image_(image) {}

  [[nodiscard]] std::expected<void, VdsoError> read_segments() noexcept;
  [[nodiscard]] std::expected<void, VdsoError> read_dynamic() noexcept;
  [[nodiscard]] std::expected<void, VdsoError> read_versions() noexcept;
  [[nodiscard]] std::expected<std::size_t, VdsoError> count_symbols() const noexcept;
  [[nodiscard]] std::expected<std::size_t, VdsoError> count_by_gnu_hash() const noexcept;
  [[nodiscard]] std::expected<std::string_view, VdsoError> string_at(std::uint64_t name) const noexcept;
  [[nodiscard]] bool section_header(std::uint64_t index, Elf64_Shdr& header) const noexcept;
  /// Addresses in the image are relative to PT_LOAD's p_vaddr, which old kernels do not have at 0.
  [[nodiscard]] std::uint64_t offset_of(std::uint64_t address) const noexcept { return address - bias_; }

  std::span<const std::byte> image_;
  Elf64_Ehdr header_ = {};
  std::uint64_t bias_ = 0;
  std::span<const std::byte> dynamic_;
  // Offsets in the image; 0 for a table that is not there (offset 0 is the ELF header).
  std::uint64_t symtab_ = 0;
  std::uint64_t hash_ = 0;
  std::uint64_t gnu_hash_ = 0;
  std::uint64_t versym_ = 0;
  std::uint64_t verdef_ = 0;
  std::uint64_t verdef_count_ = 0;
  std::span<const std::byte> strtab_;
  std::size_t symbol_count_ = 0;
  std::array<VdsoVersion, kMaxVdsoVersions> versions_ = {};
  std::size_t version_count_ = 0;
  std::array<VdsoNotes, kMaxVdsoNotes> notes_ = {};
  std::size_t note_count_ = 0;
  std::optional<std::uint32_t> stack_flags_;
};

}  // namespace enclume::kernel
