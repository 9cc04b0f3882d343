// SPDX-License-Identifier: Apache-2.0
// Small files that save a process from finding out at its start what another one found out before. Each can
// be lost at any time, and what is read from one is checked like any input.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "base/errno.h"

namespace enclume::engine {

/// Signal context: unsafe (opens files).
class CacheDirectory {
 public:
  /// An absolute path of a directory of the user's; empty: nothing is read or kept.
  constexpr explicit CacheDirectory(std::string_view path) noexcept : path_(path) {}

  /// The beginning of a file, as far as it fits; 0 if there is none.
  [[nodiscard]] std::size_t read(std::string_view name, std::span<std::byte> out) const noexcept;

  /// The same into two places, one after the other. What comes into the second is to be executed, so the file
  /// has to be this user's, and nobody else may write to it; else only the first is filled.
  [[nodiscard]] std::size_t read(std::string_view name, std::span<std::byte> out,
                                 std::span<std::byte> code) const noexcept;

  /// Replaces a file, whole, or leaves it alone: nobody ever reads half of one.
  void write(std::string_view name, std::span<const std::byte> data,
             std::span<const std::byte> more = {}) const noexcept;

  [[nodiscard]] bool exists() const noexcept { return !path_.empty(); }

 private:
  using Path = std::array<char, 4096 + 256>;
  [[nodiscard]] bool path_of(std::string_view name, std::string_view suffix,
                             std::span<char> out) const noexcept;
  [[nodiscard]] SysResult<long> open(std::string_view name) const noexcept;
  [[nodiscard]] SysResult<long> open_long(std::string_view name) const noexcept;

  std::string_view path_;
};

}  // namespace enclume::engine
