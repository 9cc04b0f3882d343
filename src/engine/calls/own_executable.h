// SPDX-License-Identifier: Apache-2.0
// /proc/self/exe in a static program that the kernel knows by the name of its loader (loaded_program.h).
#pragma once

#include <optional>

#include "engine/calls/call.h"

namespace enclume::engine {

/// The call with the program's own file in place of a path that leads there. Signal context: safe.
[[nodiscard]] Call lead_to_own_executable(const Call& call);

/// What readlink(2) says of such a path; nothing for all other calls. Signal context: safe.
[[nodiscard]] std::optional<SysResult<long>> link_to_own_executable(const Call& call);

}  // namespace enclume::engine
