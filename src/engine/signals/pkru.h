// SPDX-License-Identifier: Apache-2.0
// PKRU, the rights that a thread has to pages under each of 16 protection keys (SDM Vol. 3A, "Protection
// Keys"), and who may do what to the EPC's. Signal context: safe, all of it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace enclume::engine {

/// A value of PKRU: two bits a key, access disable (AD) below write disable (WD).
using Pkru = std::uint32_t;

/// How many keys there are.
inline constexpr int kPkeys = 16;

/// XSAVE's component of PKRU.
inline constexpr unsigned kPkruComponent = 9;
inline constexpr std::uint64_t kPkruFeature = 1ULL << kPkruComponent;

/// AD and WD of key 0: the key of all memory that nobody gave another one, the engine's among it.
inline constexpr Pkru kKeyZero = 3;

/// The part of the fence around the EPC that is under one key: its AD bit, or 0 without a key.
constexpr Pkru fence_of(int key) {
  return key > 0 ? 1U << (2 * key) : 0;
}

/// For enclave code: as host code has it, but the enclave's `own` part of the EPC is open.
constexpr Pkru inside_fence(Pkru host, Pkru fence, Pkru own) {
  return (host | fence) & ~(own | own << 1);
}

/// For host code: whatever an enclave or the program itself has made of the EPC's keys, they are closed.
constexpr Pkru outside_fence(Pkru pkru, Pkru fence) {
  return pkru | fence;
}

/// For host code after an exit. An enclave with PKRU in its XFRM leaves its own behind, after an AEX the
/// initial value (SDM Vol. 3D, "Interactions with Protection Keys"). Any other can't have changed it on
/// hardware by XRSTOR, whatever the mask; here it can, so host code gets back what it had at entry.
constexpr Pkru pkru_after_exit(std::uint64_t xfrm, Pkru at_entry, Pkru at_exit, Pkru fence) {
  return outside_fence((xfrm & kPkruFeature) != 0 ? at_exit : at_entry, fence);
}

/// Whether PKRU refuses an access under `key`: data only, never a fetch. (WD binds user accesses always.)
constexpr bool pkru_denies(Pkru pkru, unsigned key, bool write) {
  const Pkru rights = pkru >> (2 * key);
  return (rights & 1) != 0 || (write && (rights & 2) != 0);
}

/// What is in a standard-format XSAVE image with PKRU at `offset`. XSTATE_BV without the bit means the
/// initial value, 0: every key open.
Pkru xsave_pkru(const std::byte* image, std::uint32_t offset);
void set_xsave_pkru(std::byte* image, std::uint32_t offset, Pkru pkru);

/// The register. The processor must have it (CPUID.7.0:ECX.OSPKE).
inline Pkru read_pkru() {
  std::uint32_t low;
  std::uint32_t high;
  __asm__ volatile("rdpkru" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}
inline void write_pkru(Pkru pkru) {
  __asm__ volatile("wrpkru" : : "a"(pkru), "c"(0), "d"(0) : "memory");
}

}  // namespace enclume::engine
