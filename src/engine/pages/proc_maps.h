// SPDX-License-Identifier: Apache-2.0
// /proc/self/maps, a mapping at a time.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/types.h"

namespace enclume::engine {

struct MapsEntry {
  LinearRange range;
  bool readable = false;
  bool of_kernel = false;    ///< "[vvar]" and its like: the kernel's own pages
  std::uint64_t offset = 0;  ///< in the file
  std::string_view path;     ///< empty if it is of no file; cut if it is very long. Good until the next entry
};

/// Signal context: safe.
class ProcMaps {
 public:
  ProcMaps();
  ~ProcMaps();
  ProcMaps(const ProcMaps&) = delete;
  ProcMaps& operator=(const ProcMaps&) = delete;

  /// False without /proc.
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }
  /// In the order of addresses; nothing at the end.
  [[nodiscard]] std::optional<MapsEntry> next();
  /// The one with `address` in it.
  [[nodiscard]] std::optional<MapsEntry> find(LinearAddress address);
  /// The same, or the next one above (Linux: find_vma()).
  [[nodiscard]] std::optional<MapsEntry> find_from(LinearAddress address);

 private:
  std::optional<std::string_view> next_line();

  int fd_;
  std::array<char, 1024> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool skip_ = false;
};

}  // namespace enclume::engine
