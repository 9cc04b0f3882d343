// SPDX-License-Identifier: Apache-2.0
// TCS: a door into the enclave for one logical processor at a time, one EPC page.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "arch/epc/epcm.h"
#include "arch/structs/bytes.h"
#include "base/types.h"

namespace enclume::arch {

/// Values of TCS.STATE.
namespace tcs_state {
inline constexpr std::uint64_t kInactive = 0;
inline constexpr std::uint64_t kActive = 1;
}  // namespace tcs_state

/// Bits of TCS.FLAGS; the rest is reserved.
namespace tcs_flags {
inline constexpr std::uint64_t kDbgOptIn = 1ULL << 0;  ///< cleared by EADD, set by EDBGWR
inline constexpr std::uint64_t kAexNotify = 1ULL << 1;
}  // namespace tcs_flags

/// TCS, 4096 bytes, page aligned (SDM Vol. 3D, "Thread Control Structure"; Linux asm/sgx.h
/// `struct sgx_tcs`). Read by EENTER and ERESUME, checked by EADD and EACCEPT. STATE, FLAGS and CSSA
/// are shared between threads: use the accessors.
struct alignas(8) Tcs {
  std::uint64_t state;
  std::uint64_t flags;
  std::uint64_t ossa;  ///< offset of the first SSA frame in the enclave, page aligned
  std::uint32_t cssa;  ///< SSA frames in use
  std::uint32_t nssa;
  std::uint64_t oentry;   ///< offset of the entry point in the enclave
  std::uint64_t aep;      ///< written at EENTER and ERESUME
  std::uint64_t ofsbase;  ///< offset of FS base, page aligned
  std::uint64_t ogsbase;
  std::uint32_t fslimit;  ///< 32-bit enclaves only
  std::uint32_t gslimit;
  Bytes<4024> reserved;

  [[nodiscard]] std::atomic_ref<std::uint64_t> atomic_state() noexcept { return std::atomic_ref(state); }
  [[nodiscard]] std::atomic_ref<std::uint64_t> atomic_flags() noexcept { return std::atomic_ref(flags); }
  [[nodiscard]] std::atomic_ref<std::uint32_t> atomic_cssa() noexcept { return std::atomic_ref(cssa); }
};
static_assert(sizeof(Tcs) == kPageSize && std::is_trivially_copyable_v<Tcs>);
static_assert(offsetof(Tcs, state) == 0);
static_assert(offsetof(Tcs, flags) == 8);
static_assert(offsetof(Tcs, ossa) == 16);
static_assert(offsetof(Tcs, cssa) == 24);
static_assert(offsetof(Tcs, nssa) == 28);
static_assert(offsetof(Tcs, oentry) == 32);
static_assert(offsetof(Tcs, aep) == 40);
static_assert(offsetof(Tcs, ofsbase) == 48);
static_assert(offsetof(Tcs, ogsbase) == 56);
static_assert(offsetof(Tcs, fslimit) == 64);
static_assert(offsetof(Tcs, gslimit) == 68);
static_assert(offsetof(Tcs, reserved) == 72);

/// First byte past what EDBGRD and EDBGWR may address in a TCS.
inline constexpr std::uint64_t kTcsArchitecturalSize = offsetof(Tcs, reserved);

/// The TCS in an EPC page of type PT_TCS. Signal context: safe.
[[nodiscard]] inline Tcs& tcs_of(const EpcPage& page) noexcept {
  return overlay<Tcs>(page.data);
}

}  // namespace enclume::arch
