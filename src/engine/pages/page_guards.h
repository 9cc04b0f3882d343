// SPDX-License-Identifier: Apache-2.0
// Keeps the program from pages without a native mapping of their own: guard regions (MADV_GUARD_INSTALL; of
// files since Linux 6.15). They are entries of the page table, where permissions are a matter of mappings,
// which to split and to join takes the kernel microseconds a page. A guarded page faults as one without
// permissions does, in whichever mapping it lies; mprotect() and fork() leave guards where they are, a new
// mapping has none.
#pragma once

#include <cstdint>

#include <cstdint>
#include <cstring>

#include "base/types.h"
#include "kernel/enclave.h"
#include "kernel/protection.h"

namespace enclume::engine {

/// The guards of an enclave in this process, and what permissions its native mappings have underneath.
/// Without a lock: NativeProtection has one around it. Nothing is known, and nothing guarded, before the
/// first install(). Signal context: safe.
class PageGuards {
 public:
  explicit PageGuards(kernel::Enclave& enclave) : enclave_(enclave) {}

  /// Puts guards on whatever is mapped of these pages, at the enclave's addresses. False if the kernel has
  /// none for them (it is older, or the program has locked its memory); some may be guarded all the same.
  [[nodiscard]] bool install(std::uint64_t first, std::uint64_t count);
  /// Takes the guards off those that have one.
  void remove(std::uint64_t first, std::uint64_t count);
  /// Whether the page may be guarded.
  [[nodiscard]] bool on(std::uint64_t page) const { return (mark(page) & kGuard) != 0; }

  /// The mapping of these pages has had these permissions set.
  void note(std::uint64_t first, std::uint64_t count, kernel::Protection prot);
  /// The pages have a new mapping, with these permissions.
  void note_new_mapping(std::uint64_t first, std::uint64_t count, kernel::Protection prot);
  /// What has been noted; none if nothing has.
  [[nodiscard]] kernel::Protection underneath(std::uint64_t page) const {
    return kernel::Protection::of(mark(page));
  }

 private:
  static constexpr std::uint8_t kGuard = 0x80;  // beside the permissions
  static constexpr std::uint64_t kTogether = 8;

  [[nodiscard]] std::uint8_t mark(std::uint64_t page) const {
    return enclave_.guards != nullptr ? enclave_.guards[page] : std::uint8_t{0};
  }
  /// Changes marks. Bytes that stay as they are aren't written: they may be in memory that was never touched.
  template <typename F>
  void update(std::uint64_t first, std::uint64_t count, F&& f) {
    // Of a sparse enclave's range most marks are zero, and stay so.
    const bool zero_stays = f(std::uint8_t{0}) == 0;
    for (std::uint64_t page = first; enclave_.guards != nullptr && page < first + count; ++page) {
      if (zero_stays && page % kTogether == 0 && first + count - page >= kTogether) {
        std::uint64_t marks;
        std::memcpy(&marks, enclave_.guards + page, sizeof(marks));
        if (marks == 0) {
          page += kTogether - 1;
          continue;
        }
      }
      const std::uint8_t before = enclave_.guards[page];
      if (const auto after = static_cast<std::uint8_t>(f(before)); after != before) {
        enclave_.guards[page] = after;
      }
    }
  }

  kernel::Enclave& enclave_;
};

}  // namespace enclume::engine
