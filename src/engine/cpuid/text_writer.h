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

  /// The two ways, for tests.
  bool write_through_proc(std::uint64_t address, std::uint8_t value) noexcept;
  /// Makes the page writable meanwhile, and keeps it executable: other threads may be running in it.
  static bool write_through_mprotect(std::uint64_t address, std::uint8_t value, int protection) noexcept;

 private:
  bool write_undisturbed(std::uint64_t address, std::uint8_t value, int protection) noexcept;
  void close_page() noexcept;

  const bool undisturbed_;
  std::uint64_t page_ = 0;  ///< that is writable now; 0: none
  int page_protection_ = 0;
  static constexpr long kNotOpened = -1;
  static constexpr long kUnavailable = -2;
  long memory_ = kNotOpened;
};

}  // namespace enclume::engine
