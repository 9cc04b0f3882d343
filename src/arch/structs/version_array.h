// SPDX-License-Identifier: Apache-2.0
// Version array: an EPC page whose slots remember the versions of evicted pages.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "arch/epc/epcm.h"
#include "arch/structs/bytes.h"
#include "base/types.h"

namespace enclume::arch {

inline constexpr std::size_t kVersionSlots = kPageSize / sizeof(std::uint64_t);

/// VA page, 512 slots of 8 bytes (SDM Vol. 3D, "Version Array (VA)"). 0 is an empty slot. Made by EPA,
/// filled by EWB, emptied by ELDU and ELDB.
struct alignas(8) VersionArray {
  std::array<std::uint64_t, kVersionSlots> slot;

  [[nodiscard]] std::atomic_ref<std::uint64_t> atomic_slot(std::size_t index) noexcept {
    return std::atomic_ref(slot[index]);
  }
};
static_assert(sizeof(VersionArray) == kPageSize && std::is_trivially_copyable_v<VersionArray>);

/// The slots in an EPC page of type PT_VA. Signal context: safe.
[[nodiscard]] inline VersionArray& version_array_of(const EpcPage& page) noexcept {
  return overlay<VersionArray>(page.data);
}

}  // namespace enclume::arch
