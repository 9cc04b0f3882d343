// SPDX-License-Identifier: Apache-2.0
#include "engine/fast/exit_load.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace enclume::engine {

namespace {

using decode::BranchRule;

/// Bytes before the instruction from which the code is decoded; streams that begin at a wrong byte fall into
/// step within a few instructions (src/engine/cpuid/README.md).
constexpr std::size_t kRunUp = 64;
constexpr std::size_t kMinStreams = 8;

constexpr unsigned char kMovEax[] = {0xb8, 4, 0, 0, 0};              // mov $4, %eax
constexpr unsigned char kMovRax[] = {0x48, 0xc7, 0xc0, 4, 0, 0, 0};  // mov $4, %rax

template <std::size_t N>
bool ends_with(std::span<const std::byte> code, const unsigned char (&bytes)[N]) {
  return code.size() >= N && std::memcmp(code.data() + code.size() - N, bytes, N) == 0;
}

/// Whether bytes of the page, read as a direct branch wherever one could begin, lead behind the instruction's
/// first byte.
bool branched_into(std::span<const std::byte> page, std::size_t at, std::size_t length) {
  const auto inside = [&](std::int64_t target) {
    return target > static_cast<std::int64_t>(at) && target < static_cast<std::int64_t>(at + length);
  };
  for (std::size_t i = 0; i + 2 <= page.size(); ++i) {
    const auto opcode = std::to_integer<unsigned>(page[i]);
    const bool is_short = opcode == 0xeb || (opcode & 0xf0) == 0x70 || (opcode & 0xfc) == 0xe0;
    if (is_short && inside(static_cast<std::int64_t>(i + 2) + static_cast<std::int8_t>(page[i + 1]))) {
      return true;
    }
    std::size_t operand = 0;
    if (opcode == 0xe8 || opcode == 0xe9) {
      operand = i + 1;
    } else if (opcode == 0x0f && (std::to_integer<unsigned>(page[i + 1]) & 0xf0) == 0x80) {
      operand = i + 2;
    }
    if (std::int32_t distance; operand != 0 && operand + sizeof(distance) <= page.size()) {
      std::memcpy(&distance, page.data() + operand, sizeof(distance));
      if (inside(static_cast<std::int64_t>(operand + sizeof(distance)) + distance)) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

bool begins_instruction(std::span<const std::byte> page, std::size_t at, BranchRule branches) {
  std::size_t streams = 0;
  std::size_t meeting = 0;
  for (std::size_t begin = at > kRunUp ? at - kRunUp : 0; begin < at; ++begin) {
    std::size_t now = begin;
    while (now < at) {
      const std::size_t room = std::min<std::size_t>(page.size() - now, decode::kMaxInstructionLength);
      const auto instruction = decode::decode(page.subspan(now, room), branches);
      if (!instruction) {
        break;
      }
      now += instruction->length;
    }
    if (now >= at) {
      ++streams;
      meeting += now == at ? 1U : 0U;
    }
  }
  return streams >= kMinStreams && meeting * 8 >= streams * 7;
}

std::expected<std::size_t, Slow> find_exit_load(std::span<const std::byte, kPageSize> page, std::size_t enclu,
                                                BranchRule branches) {
  const auto before = page.first(enclu);
  const std::size_t length = ends_with(before, kMovEax)   ? std::size(kMovEax)
                             : ends_with(before, kMovRax) ? std::size(kMovRax)
                                                          : 0;
  if (length == 0) {
    return std::unexpected(Slow::NoLoad);
  }
  const std::size_t at = enclu - length;
  if (!begins_instruction(page, at, branches)) {
    return std::unexpected(Slow::Undecided);
  }
  if (branched_into(page, at, length)) {
    return std::unexpected(Slow::BranchedInto);
  }
  return at;
}

}  // namespace enclume::engine
