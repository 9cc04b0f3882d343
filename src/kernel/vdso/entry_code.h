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

/// One design's enter function: code that runs wherever it is copied to, 64-byte aligned.
struct EntryCode {
  std::span<const std::byte> code;
  std::span<const std::byte> cfi;  ///< DWARF call frame instructions of its FDE, from `code`'s first byte.
  std::uint32_t enclu = 0;         ///< Bytes from the start of `code` to its ENCLU, which is also the AEP.
  std::uint32_t fixup = 0;         ///< Bytes to where an exception at the ENCLU continues.
  std::uint32_t direct = 0;        ///< Bytes to a NOP of 6 bytes right before the ENCLU; 0: there is none.
  std::string_view name = kEnterEnclaveName;
};

/// Design `vdso`: the function as Linux 6.12 has it. Signal context: safe.
[[nodiscard]] EntryCode enter_enclave_code() noexcept;

/// Design `vdso-registers`: include/enclume/uapi/sgx_vdso_enclu.h is its contract. Signal context: safe.
[[nodiscard]] EntryCode enclu_code() noexcept;

}  // namespace enclume::kernel
