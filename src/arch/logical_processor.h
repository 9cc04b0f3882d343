// SPDX-License-Identifier: Apache-2.0
// What one logical processor remembers between EENTER and EEXIT or AEX (SDM Vol. 3D, "Internal CPU state").
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "arch/epc/epcm.h"
#include "base/types.h"

namespace enclume::arch {

/// Pages that the XSAVE part of an SSA frame can span: 11 KiB with everything that Sapphire Rapids has.
inline constexpr std::size_t kMaxXsavePages = 4;

/// Cached physical addresses of an SSA frame: AEX writes through them and can't fault.
struct SsaFrameCache {
  std::array<std::byte*, kMaxXsavePages> xsave_page{};
  std::byte* gpr = nullptr;   ///< GPRSGX, 184 bytes
  std::byte* misc = nullptr;  ///< EXINFO, 16 bytes; null if the enclave does not select it
};

struct LogicalProcessor {
  bool enclave_mode = false;
  bool dbgoptin = false;
  bool save_tf = false;
  std::uint32_t id = 0;  ///< platform's id of the thread, goes into EpcmEntry::owner
  EpcPage secs;
  EpcPage tcs;
  LinearAddress tcs_address{};
  LinearRange elrange{};
  std::uint64_t xfrm = 0;
  std::uint64_t host_fs_base = 0;
  std::uint64_t host_gs_base = 0;
  std::uint32_t entry_epoch = 0;  ///< tracking epoch of the SECS at entry
  SsaFrameCache ssa;
};

}  // namespace enclume::arch
