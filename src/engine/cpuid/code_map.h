// SPDX-License-Identifier: Apache-2.0
// Which bytes of a piece of code begin an instruction, which lie inside one, and which nobody knows.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "engine/decode/decoder.h"

namespace enclume::engine {

/// An instruction at a known place.
struct PlacedInstruction {
  std::size_t offset = 0;  // of its first byte, prefixes included
  decode::Instruction instruction;
};

/// Built by one of two kinds of evidence:
///  - sweep(): the bytes are all of one function. They must decode without a gap, end exactly at the end, and
///    every branch inside must land on an instruction. Data in between would have to survive all of that.
///  - follow(): an address is known to be executed. What it reaches by falling through and by direct branches
///    is code. A call is taken to return.
///
/// Signal context: safe (all memory is the caller's).
class CodeMap {
 public:
  /// Words of storage for code of `size` bytes.
  [[nodiscard]] static constexpr std::size_t storage_words(std::size_t size) noexcept {
    return 3 * ((size + 63) / 64);
  }

  /// Maps the first `size` bytes of `text`; what follows them in `text` only completes an instruction that
  /// crosses the end. `storage` must be zero, have storage_words(size) elements, and outlive the map.
  CodeMap(std::span<const std::byte> text, std::size_t size, std::span<std::uint64_t> storage,
          decode::BranchRule branches) noexcept;

  /// True if the evidence holds; else the map says nothing and must be built anew from zeroed storage.
  [[nodiscard]] bool sweep() noexcept;

  /// Adds what is reached from an instruction that starts at `offset`. `outside(offset)` is called for each
  /// place before or behind the map that is reached too, as a signed offset; it may come more than once.
  template <typename Visitor>
  void follow(std::size_t offset, Visitor&& outside) noexcept {
    add_pending(offset);
    while (const auto next = take_pending()) {
      for (std::optional<std::int64_t> at = static_cast<std::int64_t>(*next); at;) {
        if (*at < 0 || static_cast<std::uint64_t>(*at) >= size_) {
          outside(*at);
          break;
        }
        const auto step = visit(static_cast<std::size_t>(*at));
        if (!step) {
          break;
        }
        if (step->target) {
          if (*step->target < 0 || static_cast<std::uint64_t>(*step->target) >= size_) {
            outside(*step->target);
          } else {
            add_pending(static_cast<std::size_t>(*step->target));
          }
        }
        at = step->next;
      }
    }
  }

  /// True if follow() found instructions that overlap, other than by a skipped LOCK prefix: some of what it
  /// took for code is data, or the code hides itself.
  [[nodiscard]] bool has_overlap() const noexcept { return overlap_; }

  [[nodiscard]] bool is_start(std::size_t offset) const noexcept { return test(starts_, offset); }
  /// True if an instruction that starts before it covers the byte.
  [[nodiscard]] bool is_inside(std::size_t offset) const noexcept { return test(inside_, offset); }

  /// The instruction whose bytes include `offset`. Nothing if unknown, or if more than one has it.
  [[nodiscard]] std::optional<PlacedInstruction> instruction_at(std::size_t offset) const noexcept;

  /// The instruction that ends where `offset` begins. Nothing if none or more than one does.
  [[nodiscard]] std::optional<PlacedInstruction> instruction_before(std::size_t offset) const noexcept;

  /// Calls `visit(PlacedInstruction)` for each, in ascending order, until it returns false.
  template <typename Visitor>
  void for_each_instruction(Visitor&& visit) const noexcept {
    for (std::size_t word = 0; word < starts_.size(); ++word) {
      for (std::uint64_t bits = starts_[word]; bits != 0; bits &= bits - 1) {
        const std::size_t at = word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
        const auto instruction = decode_at(at);
        if (instruction && !visit(PlacedInstruction{.offset = at, .instruction = *instruction})) {
          return;
        }
      }
    }
  }

 private:
  struct Step {
    std::optional<std::int64_t> next;    // where execution continues behind it
    std::optional<std::int64_t> target;  // where it may branch to
  };

  [[nodiscard]] static bool test(std::span<const std::uint64_t> bits, std::size_t i) noexcept {
    return ((bits[i / 64] >> (i % 64)) & 1) != 0;
  }
  static void set(std::span<std::uint64_t> bits, std::size_t i) noexcept { bits[i / 64] |= 1ULL << (i % 64); }

  [[nodiscard]] std::optional<decode::Instruction> decode_at(std::size_t offset) const noexcept;
  void mark(std::size_t offset, std::size_t length) noexcept;
  [[nodiscard]] bool skips_lock(std::size_t offset) const noexcept;
  [[nodiscard]] bool branches_land() const noexcept;
  [[nodiscard]] std::optional<Step> visit(std::size_t offset) noexcept;
  void add_pending(std::size_t offset) noexcept;
  [[nodiscard]] std::optional<std::size_t> take_pending() noexcept;

  std::span<const std::byte> text_;
  std::size_t size_;
  std::span<std::uint64_t> starts_;
  std::span<std::uint64_t> inside_;
  std::span<std::uint64_t> pending_;
  std::size_t first_pending_word_ = 0;
  decode::BranchRule branches_;
  bool overlap_ = false;
};

}  // namespace enclume::engine
