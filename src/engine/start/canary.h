// SPDX-License-Identifier: Apache-2.0
// Where the stack protector of libraries in the engine finds its canary.
#pragma once

#include <cstddef>

namespace enclume::engine {

/// In place of a thread control block, for FS to lead to.
[[nodiscard]] std::byte* canary_block();

}  // namespace enclume::engine
