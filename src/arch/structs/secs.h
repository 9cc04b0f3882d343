// SPDX-License-Identifier: Apache-2.0
// SECS: the enclave's control structure, one EPC page.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "arch/epc/epcm.h"
#include "arch/structs/attributes.h"
#include "arch/structs/bytes.h"
#include "base/types.h"

namespace enclume::arch {

/// What the processor keeps in the part of the SECS that software can't see. The SDM names the values
/// (EID, PADDING, VIRTCHILDCNT, the hash counter) but not their places: this layout is ours. It travels
/// with the page through EWB and ELDU.
///
/// Threads meet here: fields marked (a) are accessed with std::atomic_ref only, hash_* only by the holder
/// of measurement_lock, the rest is written before VALID or INIT is set and constant afterwards.
struct SecsInternal {
  std::uint64_t eid;                        ///< unique on this machine, from CR_NEXT_EID
  std::uint64_t hash_blocks;                ///< 64-byte blocks that MRENCLAVE has taken in
  std::array<std::uint32_t, 8> hash_state;  ///< SHA-256 chaining value after these
  std::uint32_t child_count;                ///< (a) valid EPC pages of the enclave besides the SECS
  std::uint32_t virtual_child_count;        ///< (a) VIRTCHILDCNT, for leaves under virtualisation
  std::uint64_t tracking;                   ///< (a) epoch, see arch/epc/tracking.h
  std::uint32_t measurement_lock;           ///< (a) 1 while EADD, EEXTEND or EINIT works on the hash
  std::uint32_t tracking_lock;              ///< (a) 1 while ETRACK works
  Bytes<8> reserved;
  Bytes<16> isv_ext_prod_id;  ///< from SIGSTRUCT at EINIT
  Bytes<16> isv_family_id;    ///< from SIGSTRUCT at EINIT
  Bytes<352> padding;         ///< PADDING: upper 352 bytes of the verified PKCS#1 block
};
static_assert(sizeof(SecsInternal) == 464 && std::is_trivially_copyable_v<SecsInternal>);
static_assert(offsetof(SecsInternal, padding) == 112);

/// Entries by the TCSs that share it, in a cache line of its own: logical processors that enter by different
/// TCSs do not wait for each other's line.
struct TrackingStripe {
  std::uint64_t word;  ///< (a) see arch/epc/tracking.h
  Bytes<56> pad;
};
static_assert(sizeof(TrackingStripe) == 64);
inline constexpr std::size_t kTrackingStripes = 32;

/// SECS, 4096 bytes, page aligned (SDM Vol. 3D, "SGX Enclave Control Structure"; Linux asm/sgx.h
/// `struct sgx_secs`). Made by ECREATE, completed by EINIT, read by nearly every leaf.
struct alignas(8) Secs {
  std::uint64_t size;            ///< bytes, a power of two, at least two pages
  std::uint64_t base_addr;       ///< aligned to size
  std::uint32_t ssa_frame_size;  ///< pages
  std::uint32_t miscselect;
  std::uint64_t cet_leg_bitmap_offset;  ///< CET is not offered: must be 0
  std::uint8_t cet_attributes;          ///< CET is not offered: must be 0
  Bytes<15> reserved1;
  Attributes attributes;
  Hash256 mrenclave;
  Bytes<32> reserved2;
  Hash256 mrsigner;
  Bytes<32> reserved3;
  Bytes<64> config_id;
  std::uint16_t isv_prod_id;
  std::uint16_t isv_svn;
  std::uint16_t config_svn;
  Bytes<2> reserved4;
  SecsInternal internal;  ///< reserved, zero in the source of ECREATE
  Bytes<40> reserved5;
  std::array<TrackingStripe, kTrackingStripes> stripes;  ///< reserved, zero in the source of ECREATE
  Bytes<1280> reserved6;

  [[nodiscard]] LinearRange elrange() const noexcept {
    return {LinearAddress(base_addr), LinearAddress(base_addr + size)};
  }

  /// ATTRIBUTES.flags may change under the reader (EINIT sets INIT), so it is read as one word.
  [[nodiscard]] std::uint64_t flags() noexcept {
    return std::atomic_ref(attributes.flags).load(std::memory_order_acquire);
  }
  [[nodiscard]] bool initialised() noexcept { return (flags() & attribute::kInit) != 0; }
  [[nodiscard]] bool debug() noexcept { return (flags() & attribute::kDebug) != 0; }
  /// EINIT's last step: what it wrote before is visible to who sees INIT.
  void set_initialised() noexcept {
    std::atomic_ref(attributes.flags).fetch_or(attribute::kInit, std::memory_order_acq_rel);
  }

  [[nodiscard]] std::uint32_t children() noexcept {
    return std::atomic_ref(internal.child_count).load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint32_t virtual_children() noexcept {
    return std::atomic_ref(internal.virtual_child_count).load(std::memory_order_acquire);
  }
  /// After a thread was killed in the middle of a leaf.
  void set_children(std::uint32_t count) noexcept {
    std::atomic_ref(internal.child_count).store(count, std::memory_order_release);
  }
  void add_child() noexcept { std::atomic_ref(internal.child_count).fetch_add(1, std::memory_order_acq_rel); }
  void remove_child() noexcept {
    std::atomic_ref(internal.child_count).fetch_sub(1, std::memory_order_acq_rel);
  }
};
static_assert(sizeof(Secs) == kPageSize && std::is_trivially_copyable_v<Secs>);
static_assert(offsetof(Secs, size) == 0);
static_assert(offsetof(Secs, base_addr) == 8);
static_assert(offsetof(Secs, ssa_frame_size) == 16);
static_assert(offsetof(Secs, miscselect) == 20);
static_assert(offsetof(Secs, cet_leg_bitmap_offset) == 24);
static_assert(offsetof(Secs, cet_attributes) == 32);
static_assert(offsetof(Secs, attributes) == 48);
static_assert(offsetof(Secs, mrenclave) == 64);
static_assert(offsetof(Secs, reserved2) == 96);
static_assert(offsetof(Secs, mrsigner) == 128);
static_assert(offsetof(Secs, reserved3) == 160);
static_assert(offsetof(Secs, config_id) == 192);
static_assert(offsetof(Secs, isv_prod_id) == 256);
static_assert(offsetof(Secs, isv_svn) == 258);
static_assert(offsetof(Secs, config_svn) == 260);
static_assert(offsetof(Secs, reserved4) == 262);
static_assert(offsetof(Secs, internal) == 264);
static_assert(offsetof(Secs, stripes) % sizeof(TrackingStripe) == 0);

/// The SECS in an EPC page of type PT_SECS. Signal context: safe.
[[nodiscard]] inline Secs& secs_of(const EpcPage& page) noexcept {
  return overlay<Secs>(page.data);
}

}  // namespace enclume::arch
