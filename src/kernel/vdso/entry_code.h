// SPDX-License-Identifier: Apache-2.0
// The functions through which programs enter enclaves, as data for image.h to copy: one a design.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace enclume::kernel {

/// The names and the version under which programs look for them.
inline constexpr std::string_view kEnterEnclaveName = "__vdso_sgx_enter_enclave";
inline constexpr std::string_view kEncluName = "__vdso_sgx_enclu";
inline constexpr std::string_view kEntryVersion = "LINUX_2.6";

/// One design's enter function: code that runs wherever it is copied to, 64-byte aligned. It may carry
/// quadwords of its own that whoever places the image fills in before the image becomes executable (a
/// direct-jump path needs such slots); image.h neither knows nor moves them.
struct EntryCode {
  std::span<const std::byte> code;
  std::span<const std::byte> cfi;  ///< DWARF call frame instructions of its FDE, from `code`'s first byte.
  std::uint32_t enclu = 0;         ///< Bytes from the start of `code` to its ENCLU, which is also the AEP.
  std::uint32_t fixup = 0;         ///< Bytes to where an exception at the ENCLU continues.
  std::string_view name = kEnterEnclaveName;
};

/// Design `vdso`: the function as Linux 6.12 has it. Signal context: safe.
[[nodiscard]] EntryCode enter_enclave_code() noexcept;

/// Design `vdso-registers`: include/enclume/uapi/sgx_vdso_enclu.h is its contract. Signal context: safe.
[[nodiscard]] EntryCode enclu_code() noexcept;

}  // namespace enclume::kernel
