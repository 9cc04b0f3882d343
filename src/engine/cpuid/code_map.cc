// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/code_map.h"

#include <bit>

namespace enclume::engine {
namespace {

constexpr std::byte kLockPrefix{0xf0};

}  // namespace

CodeMap::CodeMap(std::span<const std::byte> text, std::size_t size, std::span<std::uint64_t> storage,
                 decode::BranchRule branches) noexcept
    : text_(text),
      size_(size),
      starts_(storage.subspan(0, storage.size() / 3)),
      inside_(storage.subspan(storage.size() / 3, storage.size() / 3)),
      pending_(storage.subspan(2 * (storage.size() / 3), storage.size() / 3)),
      first_pending_word_(pending_.size()),
      branches_(branches) {}

std::optional<decode::Instruction> CodeMap::decode_at(std::size_t offset) const noexcept {
  const auto decoded = decode::decode(text_.subspan(offset), branches_);
  return decoded ? std::optional(*decoded) : std::nullopt;
}

void CodeMap::mark(std::size_t offset, std::size_t length) noexcept {
  set(starts_, offset);
  for (std::size_t i = offset + 1; i < offset + length && i < size_; ++i) {
    set(inside_, i);
  }
}

// Code that locks only on machines with several processors jumps over its own prefix.
bool CodeMap::skips_lock(std::size_t offset) const noexcept {
  return offset > 0 && text_[offset - 1] == kLockPrefix && is_start(offset - 1);
}

bool CodeMap::sweep() noexcept {
  for (std::size_t at = 0; at < size_;) {
    const auto instruction = decode_at(at);
    if (!instruction || at + instruction->length > size_) {
      return false;
    }
    mark(at, instruction->length);
    at += instruction->length;
  }
  return branches_land();
}

bool CodeMap::branches_land() const noexcept {
  for (std::size_t at = 0; at < size_;) {
    const auto instruction = decode_at(at);
    at += instruction->length;  // swept before
    if (!decode::is_relative_branch(instruction->cls)) {
      continue;
    }
    const std::uint64_t target = at + static_cast<std::uint64_t>(instruction->immediate);
    if (target < size_ && !is_start(target) && !skips_lock(target)) {
      return false;
    }
  }
  return true;
}

std::optional<CodeMap::Step> CodeMap::visit(std::size_t offset) noexcept {
  if (is_start(offset)) {
    return std::nullopt;
  }
  const auto instruction = decode_at(offset);
  if (!instruction) {
    return std::nullopt;  // executing it would fault: the path ends here
  }
  if (is_inside(offset) && !skips_lock(offset)) {
    overlap_ = true;
  }
  const bool lock_skipped_earlier = text_[offset] == kLockPrefix;
  for (std::size_t i = offset + 1; i < offset + instruction->length && i < size_; ++i) {
    if (is_start(i) && !(lock_skipped_earlier && i == offset + 1)) {
      overlap_ = true;
    }
  }
  mark(offset, instruction->length);

  Step step;
  const auto end = static_cast<std::int64_t>(offset + instruction->length);
  if (decode::is_relative_branch(instruction->cls)) {
    step.target = static_cast<std::int64_t>(static_cast<std::uint64_t>(end) +
                                            static_cast<std::uint64_t>(instruction->immediate));
  }
  if (decode::falls_through(instruction->cls)) {
    step.next = end;
  }
  return step;
}

void CodeMap::add_pending(std::size_t offset) noexcept {
  if (is_start(offset)) {
    return;
  }
  set(pending_, offset);
  if (offset / 64 < first_pending_word_) {
    first_pending_word_ = offset / 64;
  }
}

std::optional<std::size_t> CodeMap::take_pending() noexcept {
  for (; first_pending_word_ < pending_.size(); ++first_pending_word_) {
    std::uint64_t& word = pending_[first_pending_word_];
    if (word != 0) {
      const auto bit = static_cast<std::size_t>(std::countr_zero(word));
      word &= word - 1;
      return first_pending_word_ * 64 + bit;
    }
  }
  return std::nullopt;
}

std::optional<PlacedInstruction> CodeMap::instruction_at(std::size_t offset) const noexcept {
  std::optional<PlacedInstruction> found;
  for (std::size_t back = 0; back < decode::kMaxInstructionLength && back <= offset; ++back) {
    if (!is_start(offset - back)) {
      continue;
    }
    const auto instruction = decode_at(offset - back);
    if (!instruction || instruction->length <= back) {
      continue;
    }
    const bool same_without_lock =
        found && text_[offset - back] == kLockPrefix && found->offset == offset - back + 1;
    if (found && !same_without_lock) {
      return std::nullopt;
    }
    found = PlacedInstruction{.offset = offset - back, .instruction = *instruction};
  }
  return found;
}

std::optional<PlacedInstruction> CodeMap::instruction_before(std::size_t offset) const noexcept {
  std::optional<PlacedInstruction> found;
  for (std::size_t back = 1; back <= decode::kMaxInstructionLength && back <= offset; ++back) {
    if (!is_start(offset - back)) {
      continue;
    }
    const auto instruction = decode_at(offset - back);
    if (instruction && instruction->length == back) {
      if (found) {
        return std::nullopt;
      }
      found = PlacedInstruction{.offset = offset - back, .instruction = *instruction};
    }
  }
  return found;
}

}  // namespace enclume::engine
