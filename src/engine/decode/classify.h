// SPDX-License-Identifier: Apache-2.0
// Private to the decoder.
#pragma once

#include "engine/decode/instruction.h"

namespace enclume::engine::decode {

// True if the legacy opcode exists with this ModRM and these prefixes. The opcode itself, and its mandatory
// prefix, have passed the grids already.
[[nodiscard]] bool legacy_form_exists(const Instruction& instruction) noexcept;

// The class of a complete instruction.
[[nodiscard]] InstructionClass classify(const Instruction& instruction) noexcept;

}  // namespace enclume::engine::decode
