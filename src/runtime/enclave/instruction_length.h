// SPDX-License-Identifier: Apache-2.0
// How long an instruction is; no more than that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace enclume::enclave {

/// Bytes of the 64-bit instruction that `code` begins with, at most 15; 0: none that this knows, or it does
/// not end in `code`. Legacy, VEX and EVEX encodings (SDM volume 2, appendix A).
[[nodiscard]] std::size_t instruction_length(std::span<const std::uint8_t> code) noexcept;

}  // namespace enclume::enclave
