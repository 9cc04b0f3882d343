// SPDX-License-Identifier: Apache-2.0
//
// PKRU: the register, and where XSAVE keeps it. SDM volume 1, "PKRU State".
#pragma once

#include <cpuid.h>

#include <cstdint>
#include <cstring>

namespace enclume::test {

inline constexpr std::uint64_t kPkruFeature = 1U << 9;

inline std::uint32_t rdpkru() {
  std::uint32_t low, high;
  __asm__ volatile("rdpkru" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}
inline void wrpkru(std::uint32_t value) {
  __asm__ volatile("wrpkru" : : "a"(value), "c"(0), "d"(0) : "memory");
}

/// The two bits of a key, PKEY_DISABLE_ACCESS and PKEY_DISABLE_WRITE.
inline std::uint32_t rights(std::uint32_t pkru, int key) {
  return pkru >> (2 * key) & 3;
}

/// Its offset in an XSAVE area of the standard format.
inline std::uint32_t pkru_offset() {
  static const std::uint32_t offset = [] {
    std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
    __cpuid_count(0xd, 9, eax, ebx, ecx, edx);
    return ebx;
  }();
  return offset;
}

inline std::uint32_t pkru_of(const std::uint8_t* area) {
  std::uint64_t in_use;
  std::memcpy(&in_use, area + 512, sizeof in_use);
  if ((in_use & kPkruFeature) == 0) return 0;
  std::uint32_t value;
  std::memcpy(&value, area + pkru_offset(), sizeof value);
  return value;
}

inline void set_pkru(std::uint8_t* area, std::uint32_t value) {
  std::uint64_t in_use;
  std::memcpy(&in_use, area + 512, sizeof in_use);
  in_use |= kPkruFeature;
  std::memcpy(area + 512, &in_use, sizeof in_use);
  std::memcpy(area + pkru_offset(), &value, sizeof value);
}

}  // namespace enclume::test
