// SPDX-License-Identifier: Apache-2.0
// PCMD: what protects an evicted page outside the EPC.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "arch/structs/bytes.h"
#include "arch/structs/secinfo.h"

namespace enclume::arch {

/// PCMD, 128 bytes, 128-byte aligned (SDM Vol. 3D, "Paging Crypto MetaData (PCMD)"; Linux asm/sgx.h
/// `struct sgx_pcmd`). Written by EWB, read by ELDU and ELDB.
struct Pcmd {
  Secinfo secinfo;
  std::uint64_t enclave_id;
  Bytes<40> reserved;
  Block128 mac;
};
static_assert(sizeof(Pcmd) == 128 && std::is_trivially_copyable_v<Pcmd>);
static_assert(offsetof(Pcmd, secinfo) == 0);
static_assert(offsetof(Pcmd, enclave_id) == 64);
static_assert(offsetof(Pcmd, reserved) == 72);
static_assert(offsetof(Pcmd, mac) == 112);
inline constexpr std::uint64_t kPcmdAlignment = 128;

}  // namespace enclume::arch
