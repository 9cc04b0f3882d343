// SPDX-License-Identifier: Apache-2.0
// FS and GS bases of the calling thread. The engine starts only where programs may use these instructions.
#pragma once

#include <cstdint>

namespace enclume::engine {

/// Signal context: safe, all of these.
inline std::uint64_t fs_base() {
  std::uint64_t v;
  __asm__ volatile("rdfsbase %0" : "=r"(v));
  return v;
}

inline std::uint64_t gs_base() {
  std::uint64_t v;
  __asm__ volatile("rdgsbase %0" : "=r"(v));
  return v;
}

inline void set_fs_base(std::uint64_t fs) {
  __asm__ volatile("wrfsbase %0" : : "r"(fs) : "memory");
}

inline void set_bases(std::uint64_t fs, std::uint64_t gs) {
  __asm__ volatile("wrfsbase %0\n\twrgsbase %1" : : "r"(fs), "r"(gs) : "memory");
}

}  // namespace enclume::engine
