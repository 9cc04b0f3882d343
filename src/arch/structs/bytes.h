// SPDX-License-Identifier: Apache-2.0
// Opaque byte fields of the architecture's structures, and the one way to overlay a structure on memory.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace enclume::arch {

template <std::size_t N>
using Bytes = std::array<std::byte, N>;

/// A SHA-256 value: MRENCLAVE, MRSIGNER, a public key's hash.
using Hash256 = Bytes<32>;
/// A 128-bit key or MAC.
using Block128 = Bytes<16>;

/// Whether a reserved field holds only zeros, as it must. Signal context: safe.
[[nodiscard]] constexpr bool all_zero(std::span<const std::byte> bytes) noexcept {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

/// The bytes of a plain structure. Signal context: safe.
template <typename T>
[[nodiscard]] std::span<const std::byte, sizeof(T)> bytes_of(const T& value) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  return std::as_bytes(std::span<const T, 1>(&value, 1));
}

/// Sees a structure in memory that the caller knows to hold one: an EPC page, an operand that has been
/// checked for alignment. Signal context: safe.
template <typename T>
[[nodiscard]] T& overlay(std::byte* memory) noexcept {
  static_assert(std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T>);
  return *reinterpret_cast<T*>(memory);
}

}  // namespace enclume::arch
