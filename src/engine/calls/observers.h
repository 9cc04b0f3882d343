// SPDX-License-Identifier: Apache-2.0
// Calls of the program's that the direct paths have to know of: breakpoints that they would pass by, and what
// takes away the events by which the engine watches enclave code.
#pragma once

#include "engine/calls/call.h"

namespace enclume::engine {

/// Before the call is made, however it came in. Signal context: safe.
void before_call(const Call& call);

}  // namespace enclume::engine
