// SPDX-License-Identifier: Apache-2.0
// Where functions begin and end, as the object itself says.
#pragma once

#include <cstdint>
#include <optional>

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

 private:
  const ObjectImage& image_;
  std::uint64_t header_ = 0;  // address of .eh_frame_hdr, base of the table's offsets
  std::uint64_t table_ = 0;
  std::uint32_t count_ = 0;
};

/// The function symbol of the object's file around an address: .symtab, or .dynsym if the file is stripped.
/// For assembly without frame descriptions. Nothing if the file is gone or is not the one that was loaded.
/// Signal context: unsafe (opens and maps the file).
[[nodiscard]] std::optional<CodeRange> symbol_around(const ObjectImage& image,
                                                     std::uint64_t address) noexcept;

}  // namespace enclume::engine
