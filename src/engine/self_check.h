// SPDX-License-Identifier: Apache-2.0
// `enclume run --debug`: the engine's record of a thread, held against the processor's, each time a handler
// is about to return. Stops with file, line and state if they disagree.
#pragma once

#include "engine/entry/entry.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

/// `tid` is the calling thread. Signal context: safe.
void check_thread(ThreadBlock& block, const ExitPlan& plan, int tid);

}  // namespace enclume::engine
