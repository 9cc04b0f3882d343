// SPDX-License-Identifier: Apache-2.0
// Whether an ENCLU's predecessor is what its last bytes look like.
#pragma once

#include <cstddef>
#include <expected>
#include <span>

#include "base/types.h"
#include "engine/decode/decoder.h"
#include "engine/stats/slow.h"

namespace enclume::engine {

/// Where the instruction begins that loads EEXIT's number into RAX right before the ENCLU at offset `enclu`
/// of `page`; or why there is none, or it is not sure. It is sure if the code before it, decoded from
/// each of the 64 bytes in front, has an instruction at this place, and nothing in the page that could be a
/// direct branch leads behind its first byte. That the ENCLU has been executed with this number the caller
/// has seen. Signal context: safe.
[[nodiscard]] std::expected<std::size_t, Slow> find_exit_load(std::span<const std::byte, kPageSize> page,
                                                              std::size_t enclu, decode::BranchRule branches);

/// Whether nearly all streams of instructions that begin in the 64 bytes before `at` have one there. Signal
/// context: safe.
[[nodiscard]] bool begins_instruction(std::span<const std::byte> page, std::size_t at,
                                      decode::BranchRule branches);

}  // namespace enclume::engine
