// SPDX-License-Identifier: Apache-2.0
// Where everything lies in the sparse file that is an enclave.
//
//   0          EPC pages: the page at linear address A is at A - base; evicted, its ciphertext is there
//   2^46       metadata: header, SECS, EPCM, page table, presence index, VA pages, VA slots, PCMD, spare page
//   2^48       end (the length never changes: an enclave's file is known by it)
//
// The header's place is fixed; the parts behind it depend on SIZE, which the header tells after
// SGX_IOC_ENCLAVE_CREATE. Nothing is written before it is needed: the file is as big as what is in use.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace enclume::kernel {

inline constexpr std::uint64_t kFileLength = 1ULL << 48;
inline constexpr std::uint64_t kEpcOffset = 0;
inline constexpr std::uint64_t kMetadataOffset = 1ULL << 46;
/// The largest SIZE that the layout can hold.
inline constexpr std::uint64_t kMaxEnclaveSize = kMetadataOffset;
inline constexpr std::uint64_t kHeaderLength = kPageSize;

inline constexpr std::uint64_t kVaSlotsPerPage = 512;
inline constexpr std::uint64_t kPcmdSize = 128;

/// Levels of the presence index: a bit a page, then a bit for each 64 of the level below.
inline constexpr unsigned kIndexLevels = 5;

/// Places inside the metadata part, as offsets from kMetadataOffset, for one SIZE.
struct MetadataLayout {
  std::uint64_t pages = 0;                    ///< SIZE / 4096
  std::uint64_t max_va_pages = 0;             ///< one for 512 pages, the SECS counted as a page
  std::uint64_t secs = 0;                     ///< 4096 bytes
  std::uint64_t spare = 0;                    ///< 4096 bytes: of the page that is just paged, its ciphertext
  std::uint64_t epcm = 0;                     ///< 32 bytes for each of pages + 1 + max_va_pages
  std::uint64_t page_table = 0;               ///< 8 bytes a page
  std::uint64_t index = 0;                    ///< all levels, lowest first
  std::uint64_t va = 0;                       ///< 4096 bytes each
  std::uint64_t va_slots = 0;                 ///< 64 bytes each: bitmap of slots in use
  std::uint64_t pcmd = 0;                     ///< 128 bytes a page, the SECS last
  std::uint64_t length = 0;                   ///< of the whole part
  std::uint64_t index_level[kIndexLevels]{};  ///< first 64-bit word of each level, counted from `index`
  std::uint64_t index_words[kIndexLevels]{};

  /// `size` is a power of two, at least 4096, at most kMaxEnclaveSize. Signal context: safe.
  [[nodiscard]] static MetadataLayout of(std::uint64_t size) noexcept;
};

}  // namespace enclume::kernel
