// SPDX-License-Identifier: Apache-2.0
// Whether this process may enter and leave enclaves without traps (docs/fast-paths.md).
#pragma once

#include "engine/start/settings.h"

namespace enclume::engine {

/// Turns the direct paths on if the settings and the machine allow it. Once, at start, when the engine's
/// features are known, and before the vDSO image is made.
void start_direct_paths(const Settings& settings);

}  // namespace enclume::engine
