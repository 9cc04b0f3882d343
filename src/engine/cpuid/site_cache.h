// SPDX-License-Identifier: Apache-2.0
// What scans of objects have found, kept from one process to the next: most of a process's text is libc's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "engine/cpuid/cache_directory.h"
#include "engine/cpuid/scan.h"

namespace enclume::engine {

class SiteCache {
 public:
  /// `directory` must outlive the cache. `salt`: results of another engine are not to be used.
  SiteCache(const CacheDirectory& directory, std::uint64_t salt) noexcept
      : directory_(directory), salt_(salt) {}

  /// What scan_object() has found when this file was loaded before, appended to `sites`. A file is known by
  /// its GNU build id and its program headers. Nothing if it has no id, is small, or was never kept. Signal
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
  /// Nothing for an object that is not kept.
  [[nodiscard]] std::optional<std::uint64_t> key_of(const ObjectImage& image,
                                                    const ScanRequest& request) const noexcept;

  const CacheDirectory& directory_;
  std::uint64_t salt_;
};

/// Tells versions of one thing apart; no more is asked of it.
[[nodiscard]] std::uint64_t hash_of(std::span<const std::byte> bytes,
                                    std::uint64_t seed = 0xcbf2'9ce4'8422'2325) noexcept;

/// The object's GNU build id, where it is loaded; empty without one.
[[nodiscard]] std::span<const std::byte> build_id_of(const ObjectImage& image) noexcept;

}  // namespace enclume::engine
