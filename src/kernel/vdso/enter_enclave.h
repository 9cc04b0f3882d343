// SPDX-License-Identifier: Apache-2.0
// The code of `__vdso_sgx_enter_enclave` as data, for image.h to copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace enclume::kernel {

/// One design's enter function: code that runs wherever it is copied to, 64-byte aligned. It may carry
/// quadwords of its own that whoever places the image fills in before the image becomes executable (a
/// direct-jump path needs such slots); image.h neither knows nor moves them.
struct EntryCode {
  std::span<const std::byte> code;
  std::span<const std::byte> cfi;  ///< DWARF call frame instructions of its FDE, from `code`'s first byte.
  std::uint32_t enclu = 0;         ///< Bytes from the start of `code` to its ENCLU, which is also the AEP.
  std::uint32_t fixup = 0;         ///< Bytes to where an exception at the ENCLU continues.
};

/// The function as Linux 6.12 has it. Signal context: safe.
[[nodiscard]] EntryCode enter_enclave_code() noexcept;

}  // namespace enclume::kernel
