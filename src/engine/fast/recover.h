// SPDX-License-Identifier: Apache-2.0
// A signal that finds a thread on a direct path: the path's instructions are none of the program's, so the
// thread is put where the program or its enclave can be.
#pragma once

#include <cstdint>

#include "engine/entry/entry.h"
#include "engine/signals/frame.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

enum class Recovered : std::uint8_t {
  Elsewhere,  ///< the thread was not on a direct path: nothing has changed
  AtEntry,    ///< EENTER has not begun: host code at the vDSO's ENCLU
  Entered,    ///< it has been executed: enclave code at its first instruction
  AtExit,     ///< EEXIT has not begun: enclave code at its ENCLU
  Left,       ///< it has been executed: host code behind it
};

/// Puts the registers in order, and `facts` with them. `behind_int3`: the signal is a breakpoint's, which
/// leaves RIP behind its byte. Signal context: safe.
Recovered recover_direct_path(UContext& uc, ThreadBlock& block, EntryFacts& facts, bool behind_int3);

/// The same for a thread without a block, which can have got no further than to find that out.
bool recover_unregistered(UContext& uc);

/// Makes `lp` what the direct paths have made of it without writing it. Signal context: safe.
void settle(ThreadBlock& block);

}  // namespace enclume::engine
