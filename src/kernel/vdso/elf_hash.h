// SPDX-License-Identifier: Apache-2.0
// The two string hashes of ELF symbol tables.
#pragma once

#include <cstdint>
#include <string_view>

namespace enclume::kernel {

/// DT_HASH and Verdef::vd_hash (System V ABI, "Hash Table"). Signal context: safe.
[[nodiscard]] constexpr std::uint32_t sysv_hash(std::string_view name) noexcept {
  std::uint32_t hash = 0;
  for (const char c : name) {
    hash = (hash << 4) + static_cast<unsigned char>(c);
    const std::uint32_t top = hash & 0xf0000000;
    hash = (hash ^ (top >> 24)) & ~top;
  }
  return hash;
}

/// DT_GNU_HASH. Signal context: safe.
[[nodiscard]] constexpr std::uint32_t gnu_hash(std::string_view name) noexcept {
  std::uint32_t hash = 5381;
  for (const char c : name) {
    hash = hash * 33 + static_cast<unsigned char>(c);
  }
  return hash;
}

static_assert(sysv_hash("LINUX_2.6") == 0x03ae75f6);
static_assert(gnu_hash("printf") == 0x156b2bb8);

}  // namespace enclume::kernel
