// SPDX-License-Identifier: Apache-2.0
// Gives back the pages that a scan has mapped. A scan reads all text of an object, most of which the program
// never executes; without this, all of it counts as the process's memory from then on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/types.h"
#include "engine/cpuid/mapped_array.h"
#include "engine/cpuid/object_image.h"

namespace enclume::engine {

/// What of a file's mapping is worth keeping: small libraries are soon used all over, and to fault their
/// pages in again costs more time than they take memory. Bytes for the whole process.
inline constexpr std::size_t kScannedTextKept = 1U << 20;

/// Remembers which pages of an object's segments that can't be written were mapped when it was made.
/// Does nothing where /proc is not there. Signal context: unsafe (maps memory).
class TextResidency {
 public:
  /// `kept` is how many bytes earlier objects of the process were left. If there is room for this one below
  /// kScannedTextKept, it is added there and will be left as it is.
  TextResidency(const ObjectImage& image, std::size_t& kept) noexcept;
  ~TextResidency();
  TextResidency(const TextResidency&) = delete;
  TextResidency& operator=(const TextResidency&) = delete;

  /// Unmaps the pages that have been mapped since, if they still are the file's own: never one that has been
  /// written (a breakpoint, a relocation, our own patch). They come back by themselves when touched.
  void restore() noexcept;

 private:
  const ObjectImage& image_;
  int pagemap_ = -1;
  MappedArray<std::uint64_t> mapped_;  // a bit a page, the segments one after the other
};

}  // namespace enclume::engine
