// SPDX-License-Identifier: Apache-2.0
// Which part of the extended state an instruction works on.
#pragma once

#include <cstdint>

#include "engine/decode/instruction.h"

namespace enclume::engine {

/// The bits of XCR0 without which the processor raises #UD (SDM Vol. 1, "Detection of AVX Instructions" and
/// its like): AVX, AVX-512, AMX. 0 for what works without, SSE and x87 among it: an enclave always has these
/// two, and BMI's instructions on general registers, though they are encoded as AVX's are. Signal context:
/// safe.
[[nodiscard]] std::uint64_t needed_features(const decode::Instruction& instruction) noexcept;

}  // namespace enclume::engine
