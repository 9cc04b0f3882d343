// SPDX-License-Identifier: Apache-2.0
// The pages of the matrix's enclave. The build measures and signs them (sign.cc), the probe loads them.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <type_traits>

#include "cli/matrix/probe/abi.h"

namespace enclume::cli::matrix::probe {

inline constexpr std::uint64_t kPage = 4096;
using PageBytes = std::array<std::uint8_t, kPage>;

// The structures of the SDM by their offsets: these pages are read by a processor, not by a compiler.
template <typename T>
requires std::is_integral_v<T>
void put(PageBytes& page, std::size_t offset, T value) {
  std::memcpy(page.data() + offset, &value, sizeof value);
}

// SECINFO.FLAGS (SDM Vol. 3D, table 38-12)
inline constexpr std::uint64_t kSecinfoR = 1, kSecinfoW = 2, kSecinfoX = 4;
inline constexpr std::uint64_t kSecinfoTcs = 1 << 8, kSecinfoReg = 2 << 8;

// TCSs that EENTER refuses; what they share with the good one (entry point, stacks, SSA) is right.
enum class OddTcs : std::uint8_t {
  kOssaUnaligned,
  kOfsbaseUnaligned,
  kOgsbaseUnaligned,
  kFlagsReserved,
  kFlagsAexNotify,
  kNoFrames,
  kOneFrame,
  kEntryNonCanonical,
  kFsBaseNonCanonical,
  kGsBaseNonCanonical,
  kSsaInHole,
  kSsaReadOnly,
  kSsaIsTcs,
  kSpare,  // nothing is wrong with it but that tests change its page
  kCount,
};
[[nodiscard]] constexpr std::uint64_t offset_of(OddTcs tcs) {
  return ENCLAVE_ODD_TCS + static_cast<std::uint64_t>(tcs) * kPage;
}

struct ImagePage {
  std::uint64_t secinfo;
  PageBytes bytes;
};
// By offset from the base.
using Image = std::map<std::uint64_t, ImagePage>;

[[nodiscard]] Image make_image();

}  // namespace enclume::cli::matrix::probe
