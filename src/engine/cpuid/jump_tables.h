// SPDX-License-Identifier: Apache-2.0
// Where the jumps of a function through registers and memory lead: what compilers make of `switch`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/cpuid/code_map.h"
#include "engine/cpuid/object_image.h"

namespace enclume::engine {

/// The tables of distances from the table itself, or of addresses, that one function refers to. A table has
/// no length: what follows it in memory is taken for a part of it as long as it leads to code, so rather more
/// places are found than there are. Signal context: safe.
class JumpTables {
 public:
  /// `map` is that of `function`, which lies in `image`. Both must outlive this.
  JumpTables(const CodeMap& map, const ObjectImage& image, const CodeRange& function) noexcept;

  /// Whether one of the jumps may lead to an instruction at [first, last], offsets in the function. True if
  /// there are more jumps than tables.
  [[nodiscard]] bool may_lead_to(std::size_t first, std::size_t last) const noexcept;

 private:
  struct Table {
    std::uint64_t base;
    bool distances;  // 4 bytes each; else addresses
  };

  void consider(std::uint64_t base, bool distances) noexcept;
  template <typename Visitor>
  void for_each_target(const Table& table, Visitor&& visit) const noexcept;

  const ObjectImage& image_;
  CodeRange function_;
  static constexpr std::size_t kMost = 16;
  std::array<Table, kMost> tables_{};
  std::size_t count_ = 0;
  std::size_t jumps_ = 0;
};

}  // namespace enclume::engine
