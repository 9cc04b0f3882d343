// SPDX-License-Identifier: Apache-2.0
// FS and GS bases of the calling thread, with or without the instructions for it.
#pragma once

#include <asm/prctl.h>

#include <cstdint>

#include "base/syscall.h"
#include "engine/entry/entry.h"

namespace enclume::engine {

/// Signal context: safe, all of these.
inline std::uint64_t fs_base() {
  std::uint64_t v = 0;
  if (enclume_has_fsgsbase != 0) {
    __asm__ volatile("rdfsbase %0" : "=r"(v));
  } else {
    sys::raw(__NR_arch_prctl, ARCH_GET_FS, sys::arg(&v));
  }
  return v;
}

inline std::uint64_t gs_base() {
  std::uint64_t v = 0;
  if (enclume_has_fsgsbase != 0) {
    __asm__ volatile("rdgsbase %0" : "=r"(v));
  } else {
    sys::raw(__NR_arch_prctl, ARCH_GET_GS, sys::arg(&v));
  }
  return v;
}

inline void set_fs_base(std::uint64_t fs) {
  if (enclume_has_fsgsbase != 0) {
    __asm__ volatile("wrfsbase %0" : : "r"(fs) : "memory");
  } else {
    sys::raw(__NR_arch_prctl, ARCH_SET_FS, static_cast<long>(fs));
  }
}

inline void set_bases(std::uint64_t fs, std::uint64_t gs) {
  if (enclume_has_fsgsbase != 0) {
    __asm__ volatile("wrfsbase %0\n\twrgsbase %1" : : "r"(fs), "r"(gs) : "memory");
  } else {
    sys::raw(__NR_arch_prctl, ARCH_SET_FS, static_cast<long>(fs));
    sys::raw(__NR_arch_prctl, ARCH_SET_GS, static_cast<long>(gs));
  }
}

}  // namespace enclume::engine
