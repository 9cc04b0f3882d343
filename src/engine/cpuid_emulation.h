// SPDX-License-Identifier: Apache-2.0
// CPUID in host code: the machine's answers with SGX added.
#pragma once

#include "engine/signals/frame.h"

namespace enclume::engine {

/// If the instruction at RIP is a CPUID that this engine patched: executes it on the frame. Signal context:
/// safe.
bool emulate_patched_cpuid(UContext& uc);

/// If the instruction at RIP is a CPUID (which faulted): the same.
bool emulate_faulting_cpuid(UContext& uc);

}  // namespace enclume::engine
