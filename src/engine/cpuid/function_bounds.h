// SPDX-License-Identifier: Apache-2.0
// Where functions begin and end, as the object itself says.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "engine/cpuid/mapped_array.h"
#include "engine/cpuid/object_image.h"

namespace enclume::engine {

/// The unwinder's index (`.eh_frame_hdr`, always loaded): a table sorted by start address that leads to frame
/// descriptions, which hold the length. Sources: LSB 5.0 core, "Exception Frames"; DWARF 4, 6.4.1.
class FrameIndex {
 public:
  explicit FrameIndex(const ObjectImage& image) noexcept;

  /// The range of the frame description that covers the address.
  /// Signal context: unsafe (the object must not be unloaded meanwhile).
  [[nodiscard]] std::optional<CodeRange> function_around(std::uint64_t address) const noexcept;

  /// The object has no index.
  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }

 private:
  const ObjectImage& image_;
  std::uint64_t header_ = 0;  // address of .eh_frame_hdr, base of the table's offsets
  std::uint64_t table_ = 0;
  std::uint32_t count_ = 0;
};

/// The frame descriptions themselves (`.eh_frame`), of which every one is read: linkers make no index for
/// static programs. Nothing but the section headers of the file leads to them.
class FrameDescriptions {
 public:
  /// Signal context: unsafe (opens and maps the file, maps memory).
  explicit FrameDescriptions(const ObjectImage& image) noexcept;

  [[nodiscard]] std::optional<CodeRange> function_around(std::uint64_t address) const noexcept;
  [[nodiscard]] bool empty() const noexcept { return functions_.empty(); }

 private:
  MappedArray<CodeRange> functions_;  ///< sorted
};

/// Where the object's `.eh_frame` is loaded, by the section headers of its file. Signal context: unsafe.
[[nodiscard]] std::optional<CodeRange> frame_section_of(const ObjectImage& image) noexcept;

/// The function symbols of the object's file: .symtab, or .dynsym if the file is stripped. For assembly
/// without frame descriptions. Empty if the file is gone or is not the one that was loaded.
class FileSymbols {
 public:
  /// Signal context: unsafe (opens and maps the file).
  explicit FileSymbols(const ObjectImage& image) noexcept;
  ~FileSymbols();
  FileSymbols(const FileSymbols&) = delete;
  FileSymbols& operator=(const FileSymbols&) = delete;

  [[nodiscard]] std::optional<CodeRange> function_around(std::uint64_t address) const noexcept;
  /// The file was looked into, and names at most what it shares with other objects.
  [[nodiscard]] bool known_to_be_stripped() const noexcept { return has_file_ && !names_all_; }

 private:
  std::uint64_t bias_;
  bool has_file_ = false;
  bool names_all_ = false;  // a .symtab
  std::span<const std::byte> mapping_;
  std::span<const std::byte> table_;
};

}  // namespace enclume::engine
