// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/start/settings.h"

namespace enclume::engine {

/// Begins the trace that the settings ask for, if they do, with a line for this program. A file that can't be
/// opened is worth a warning only: `enclume run` has made it, so it is this program that has lost sight of it
/// (chroot, other user), and it must not fail for that. `program` is null if it is the process's executable.
void start_trace(const Settings& settings, const char* program);

}  // namespace enclume::engine
