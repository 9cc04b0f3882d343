// SPDX-License-Identifier: Apache-2.0
// All places of an enclave page that the engine has to patch before the page may be executed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/types.h"
#include "engine/cpuid/enclave_scan.h"
#include "engine/cpuid/site_vote.h"
#include "engine/decode/decoder.h"

namespace enclume::engine {

/// A page's bytes with what surrounds them: instructions cross into the next page, and the vote on a
/// candidate looks at its neighbourhood.
struct PageText {
  static constexpr std::size_t kBefore = kVoteBefore;
  static constexpr std::size_t kBehind = kVoteBehind + decode::kMaxInstructionLength;

  std::array<std::byte, kBefore + kPageSize + kBehind> bytes{};
  std::size_t before = 0;  ///< bytes of the previous page that are there, right before the page
  std::size_t behind = 0;  ///< of the next page

  [[nodiscard]] std::byte* page() { return bytes.data() + kBefore; }
  /// The page and what there is behind it.
  [[nodiscard]] std::span<const std::byte> from_page() const {
    return std::span(bytes).subspan(kBefore, kPageSize + behind);
  }
  /// All that is there; the page begins at `before`.
  [[nodiscard]] std::span<const std::byte> all() const {
    return std::span(bytes).subspan(kBefore - before, before + kPageSize + behind);
  }
};

/// A set of offsets in a page.
class PageOffsets {
 public:
  void add(std::size_t offset) { words_[offset / 64] |= 1ULL << (offset % 64); }
  void remove(std::size_t offset) { words_[offset / 64] &= ~(1ULL << (offset % 64)); }
  [[nodiscard]] bool contains(std::size_t offset) const {
    return offset < kPageSize && ((words_[offset / 64] >> (offset % 64)) & 1) != 0;
  }
  [[nodiscard]] bool empty() const {
    for (const std::uint64_t word : words_) {
      if (word != 0) {
        return false;
      }
    }
    return true;
  }
  /// Calls f(offset) for each, in ascending order.
  template <typename F>
  void for_each(F&& f) const {
    for (std::size_t i = 0; i < words_.size(); ++i) {
      for (std::uint64_t word = words_[i]; word != 0; word &= word - 1) {
        f(i * 64 + static_cast<std::size_t>(__builtin_ctzll(word)));
      }
    }
  }

 private:
  std::array<std::uint64_t, kPageSize / 64> words_{};
};

struct PageSites {
  PageOffsets opcodes;      ///< first opcode byte of each site: a 0F
  std::uint32_t sites = 0;  ///< how many
  /// Candidates about which only the code that leads to them could say more. Zero: the page needs no scan
  /// with another start.
  std::uint32_t unclear = 0;
};

/// Judges every candidate of `wanted`, of which kSilentOneByte can't be a part: by the vote of site_vote.h,
/// and where that doesn't rule it out, by following the code from `starts` (offsets at which instructions are
/// known to begin; may be empty). What code that is followed has something else over is never a site, what it
/// executes always is. Signal context: safe. Takes 4 KiB of stack.
[[nodiscard]] PageSites find_page_sites(const PageText& text, std::span<const std::uint16_t> starts,
                                        ClassSet wanted, decode::BranchRule branches) noexcept;

/// Writes the page as it is to be executed: at each site an undefined opcode. `out` has kPageSize bytes.
void write_patched_page(std::span<const std::byte> page, const PageOffsets& opcodes, std::byte* out) noexcept;

}  // namespace enclume::engine
