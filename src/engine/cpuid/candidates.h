// SPDX-License-Identifier: Apache-2.0
// Finds the places in a piece of code whose bytes would be an instruction of a set.
#pragma once

#include <emmintrin.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "engine/cpuid/enclave_scan.h"
#include "engine/decode/decoder.h"

namespace enclume::engine {
namespace candidates {

// First bytes of the opcodes in kSilentOneByte: MOV to segment, RETF, IRET, far CALL and JMP.
inline constexpr std::array<std::uint8_t, 5> kOneByteOpcodes = {0x8e, 0xca, 0xcb, 0xcf, 0xff};

// Which of the sixteen bytes at `data` may begin an opcode that is wanted, as a mask.
inline unsigned may_begin(const std::byte* data, bool one_byte_wanted) noexcept {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(data));
  __m128i hits = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x0f));
  if (one_byte_wanted) {
    for (const std::uint8_t opcode : kOneByteOpcodes) {
      hits = _mm_or_si128(hits, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(static_cast<char>(opcode))));
    }
  }
  return static_cast<unsigned>(_mm_movemask_epi8(hits));
}

// True if 0F and this byte may be an opcode of the sets. Saves decoding at every 0F, of which pages are full.
inline bool is_wanted_second_byte(std::byte second) noexcept {
  switch (std::to_integer<std::uint8_t>(second)) {
    case 0x00:  // SLDT, STR
    case 0x01:  // SGDT, SIDT, SMSW, VMCALL, VMMCALL, RDTSCP
    case 0x31:  // RDTSC
    case 0x34:  // SYSENTER
    case 0xa1:  // POP FS
    case 0xa2:  // CPUID
    case 0xa9:  // POP GS
    case 0xb2:  // LSS
    case 0xb4:  // LFS
    case 0xb5:  // LGS
      return true;
    default:
      return false;
  }
}

// Calls visit(offset) for each place of the page where an opcode of the sets may stand.
template <typename Visitor>
void for_each_opcode(std::span<const std::byte> text, std::size_t size, bool one_byte_wanted,
                     Visitor&& visit) noexcept {
  const auto consider = [&](std::size_t at) {
    if (text[at] != std::byte{0x0f} || at + 1 >= text.size() || is_wanted_second_byte(text[at + 1])) {
      visit(at);
    }
  };
  std::size_t at = 0;
  for (; at + 16 <= size; at += 16) {
    for (unsigned hits = may_begin(text.data() + at, one_byte_wanted); hits != 0; hits &= hits - 1) {
      consider(at + static_cast<std::size_t>(std::countr_zero(hits)));
    }
  }
  if (at < size) {  // a page that is cut short
    std::array<std::byte, 16> rest{};
    std::ranges::copy(text.subspan(at, size - at), rest.begin());
    for (unsigned hits = may_begin(rest.data(), one_byte_wanted); hits != 0; hits &= hits - 1) {
      consider(at + static_cast<std::size_t>(std::countr_zero(hits)));
    }
  }
}

// The instruction that the bytes at `offset` would be, without prefixes.
inline std::optional<decode::Instruction> decode_opcode(std::span<const std::byte> text, std::size_t offset,
                                                        decode::BranchRule branches) noexcept {
  std::array<std::byte, decode::kMaxInstructionLength> bytes{};
  const auto rest = text.subspan(offset);
  std::ranges::copy(rest.first(std::min(rest.size(), bytes.size())), bytes.begin());
  const auto decoded = decode::decode(bytes, branches);
  return decoded ? std::optional(*decoded) : std::nullopt;
}

}  // namespace candidates

/// Calls visit(offset, instruction) for each place of the first `size` bytes, in ascending order. The bytes
/// are decoded from the opcode on, without prefixes; what follows behind `size` only completes them, and if
/// there is too little, zeros do.
template <typename Visitor>
void for_each_candidate(std::span<const std::byte> text, std::size_t size, ClassSet wanted,
                        decode::BranchRule branches, Visitor&& visit) noexcept {
  candidates::for_each_opcode(text, size, wanted.intersects(kSilentOneByte), [&](std::size_t at) {
    const auto bare = candidates::decode_opcode(text, at, branches);
    if (bare && wanted.contains(bare->cls)) {
      visit(at, *bare);
    }
  });
}

}  // namespace enclume::engine
