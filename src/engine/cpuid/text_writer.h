// SPDX-License-Identifier: Apache-2.0
// Writes one byte into the running program's text.
#pragma once

#include <cstdint>

namespace enclume::engine {

/// Signal context: unsafe (system calls, opens a file).
class TextWriter {
 public:
  /// `undisturbed`: nothing can run in the text before this object is gone, so it may be writable so long.
  /// That takes a process that starts less time than its first file in /proc.
  explicit TextWriter(bool undisturbed = false) noexcept : undisturbed_(undisturbed) {}
  ~TextWriter();
  TextWriter(const TextWriter&) = delete;
  TextWriter& operator=(const TextWriter&) = delete;

  /// Puts `value` at the address, in this process only. `protection` (PROT_ bits) is what the page has and
  /// keeps. True if the byte then reads as `value`.
  ///
  /// Tries /proc/self/mem first: the kernel copies the page for us and leaves its protection alone, so there
  /// is no moment at which the text is writable, and the mapping is not split. Refuses shared mappings.
  bool write(std::uint64_t address, std::uint8_t value, int protection) noexcept;

  /// Where text is undisturbed: what is written from `first` to `last` next has this protection. The pages
  /// become writable at once rather than one by one, each of which would split the mapping.
  void announce(std::uint64_t first, std::uint64_t last, int protection) noexcept;
  [[nodiscard]] bool is_announced(std::uint64_t address) const noexcept {
    return address - open_ < open_end_ - open_;
  }

  /// The two ways, for tests.
  bool write_through_proc(std::uint64_t address, std::uint8_t value) noexcept;
  /// Makes the page writable meanwhile, and keeps it executable: other threads may be running in it.
  static bool write_through_mprotect(std::uint64_t address, std::uint8_t value, int protection) noexcept;

 private:
  void close_pages() noexcept;

  const bool undisturbed_;
  std::uint64_t open_ = 0;  ///< the pages that are writable now
  std::uint64_t open_end_ = 0;
  int protection_ = 0;  ///< that these pages get back
  static constexpr long kNotOpened = -1;
  static constexpr long kUnavailable = -2;
  long memory_ = kNotOpened;
};

}  // namespace enclume::engine
