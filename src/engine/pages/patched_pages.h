// SPDX-License-Identifier: Apache-2.0
// The enclave pages of this process that hold instructions to be trapped, and what is known of each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/types.h"
#include "engine/cpuid/page_sites.h"
#include "engine/fast/exit_sites.h"
#include "engine/pages/enclu_traps.h"

namespace enclume::engine {

/// How many steps a page is kept from being patched for a handler that may read it; see PatchedPages::hold().
inline constexpr std::uint32_t kHoldSteps = 16384;

/// Exits of one page that are made without a trap; most pages with an ENCLU have one.
inline constexpr std::size_t kExitsOfPage = 4;

/// ENCLUs of one page that trap by INT 4.
inline constexpr std::size_t kTrapsOfPage = 4;

struct PatchedPage {
  LinearAddress address{};
  PageOffsets sites;
  std::array<ExitSite*, kExitsOfPage> exits{};   ///< null behind the last
  std::array<EncluTrap*, kTrapsOfPage> traps{};  ///< null behind the last
  bool shadowed = false;                         ///< its patched copy is mapped now, not the page itself
  std::uint32_t holders = 0;                     ///< threads whose handler may look at the page
  std::uint32_t steps_left = 0;                  ///< until they are given up
  std::uint32_t generation = 0;                  ///< moves when they are
  std::uint16_t next = 0;                        ///< in its bucket: 1 + index

  /// Whether the page can be executed as it is.
  [[nodiscard]] bool unpatched() const { return sites.empty() && exits[0] == nullptr && traps[0] == nullptr; }
};

/// A table of bounded size, without locks: NativeProtection has one around it. Signal context: safe.
class PatchedPages {
 public:
  static constexpr std::size_t kCapacity = 2048;

  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] PatchedPage* find(LinearAddress page);
  /// A new entry for a page that has none. Null if the table is full: see victim().
  [[nodiscard]] PatchedPage* insert(LinearAddress page, const PageOffsets& sites);
  void erase(LinearAddress page);
  /// An entry to do without, round robin; one that is held only if all are. Null if the table is empty.
  [[nodiscard]] PatchedPage* victim();

  /// Calls f(entry) for the entries in the range, and erases each afterwards.
  template <typename F>
  void take(LinearRange range, F&& f) {
    if (count_ == 0) {
      return;
    }
    if (range.size() / kPageSize <= kCapacity / 8) {
      for (LinearAddress at = range.begin; at < range.end; at = at + kPageSize) {
        if (PatchedPage* entry = find(at); entry != nullptr) {
          f(*entry);
          erase(at);
        }
      }
      return;
    }
    for (std::size_t i = 0; i < used_; ++i) {
      if (const LinearAddress at = entries_[i].address; is_used(entries_[i]) && range.contains(at)) {
        f(entries_[i]);
        erase(at);
      }
    }
  }

  /// After #UD at a site: the handler will want to read the instruction. From now on, until release(), the
  /// page should show its own bytes. Returns what release() wants to know.
  std::uint32_t hold(PatchedPage& entry);
  void release(LinearAddress page, std::uint32_t generation);
  /// A step was taken on a page because it is held. After kHoldSteps of them nobody holds it any more: a
  /// handler that never goes on where it was interrupted must not slow the page down for ever.
  void count_step(PatchedPage& entry);

 private:
  static constexpr std::size_t kBuckets = 1024;
  [[nodiscard]] static std::size_t bucket_of(LinearAddress page) {
    return (page.value() / kPageSize * 0x9e3779b97f4a7c15ULL) >> 54;
  }
  [[nodiscard]] static bool is_used(const PatchedPage& entry) { return entry.address.value() != 0; }

  /// Begin to exist when they are used first.
  union Entries {
    constexpr Entries() : none{} {}
    ~Entries() = default;
    PatchedPage& operator[](std::size_t i) { return all[i]; }
    std::byte none;
    PatchedPage all[kCapacity];
  };
  static_assert(std::is_trivially_destructible_v<PatchedPage>);

  std::uint16_t free_ = 0;  ///< 1 + index of the first entry that was used once
  std::size_t used_ = 0;    ///< entries from here on never were
  std::size_t count_ = 0;
  std::size_t hand_ = 0;
  std::array<std::uint16_t, kBuckets> buckets_{};  ///< 1 + index of the first entry
  Entries entries_;
};

}  // namespace enclume::engine
