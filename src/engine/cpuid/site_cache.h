// SPDX-License-Identifier: Apache-2.0
// What scans of objects have found, kept from one process to the next: most of a process's text is libc's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "engine/cpuid/cache_directory.h"
#include "engine/cpuid/scan.h"

namespace enclume::engine {

/// Objects in which nothing is to be trapped, as most have it: a line for each, in place of a file. Part of a
/// file that is read anyway. Zeroed memory knows of none.
class SitelessObjects {
 public:
  static constexpr std::size_t kPlaces = 64;

  [[nodiscard]] std::optional<ScanCounts> find(std::uint64_t key) const noexcept;

  /// False if there is no place for it: the counts are too large, or all lines are taken and `replaces` is
  /// false. If that is true another object loses its line.
  bool add(std::uint64_t key, const ScanCounts& counts, bool replaces) noexcept;

 private:
  struct Line {
    std::uint64_t key;
    std::array<std::uint8_t, 8> counts;  ///< in the order of ScanCounts, without those proven
  };
  std::array<Line, kPlaces> lines_{};
};

class SiteCache {
 public:
  /// `directory` must outlive the cache. `salt`: results of another engine are not to be used. `siteless`,
  /// which must outlive it, too: objects without sites are looked for there first, and put there; `changed`
  /// is set when one was, and who has it then writes it down. `replaces`: in another one's place, if need be;
  /// for a process in some.
  SiteCache(const CacheDirectory& directory, std::uint64_t salt, SitelessObjects* siteless = nullptr,
            bool* changed = nullptr, bool replaces = false) noexcept
      : directory_(directory), salt_(salt), siteless_(siteless), changed_(changed), replaces_(replaces) {}

  /// What scan_object() has found when this file was loaded before, appended to `sites`. A file is known by
  /// its GNU build id and its program headers. Nothing if it has no id, or was never kept. Signal
  /// context: unsafe.
  [[nodiscard]] std::optional<ScanCounts> find(const ObjectImage& image, const ScanRequest& request,
                                               MappedArray<HostSite>& sites) const noexcept;

  /// Keeps it for others. Signal context: unsafe.
  void keep(const ObjectImage& image, const ScanRequest& request, std::span<const HostSite> sites,
            const ScanCounts& counts) const noexcept;

 private:
  [[nodiscard]] std::optional<ScanCounts> read(std::uint64_t key, const ObjectImage& image,
                                               MappedArray<HostSite>& sites) const noexcept;
  void write(std::uint64_t key, const ObjectImage& image, std::span<const HostSite> sites,
             const ScanCounts& counts) const noexcept;
  /// Nothing for an object that can't be told from others.
  [[nodiscard]] std::optional<std::uint64_t> key_of(const ObjectImage& image,
                                                    const ScanRequest& request) const noexcept;

  const CacheDirectory& directory_;
  std::uint64_t salt_;
  SitelessObjects* siteless_;
  bool* changed_;
  bool replaces_;
};

/// Tells versions of one thing apart; no more is asked of it.
[[nodiscard]] std::uint64_t hash_of(std::span<const std::byte> bytes,
                                    std::uint64_t seed = 0xcbf2'9ce4'8422'2325) noexcept;

/// The object's GNU build id, where it is loaded; empty without one.
[[nodiscard]] std::span<const std::byte> build_id_of(const ObjectImage& image) noexcept;

}  // namespace enclume::engine
