// SPDX-License-Identifier: Apache-2.0
// The alternate stack that the program believes to have.
#pragma once

#include <cstdint>

#include "base/errno.h"
#include "engine/signals/frame.h"

namespace enclume::engine {

struct ThreadBlock;

/// sigaltstack(2) of a registered thread whose stack pointer is `sp`. Pointers may be null, else they lead to
/// the engine's own memory. Signal context: safe.
SysResult<void> change_alternate_stack(ThreadBlock& block, const AltStack* next, AltStack* previous,
                                       std::uint64_t sp);

}  // namespace enclume::engine
