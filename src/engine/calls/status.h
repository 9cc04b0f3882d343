// SPDX-License-Identifier: Apache-2.0
// stat(2), access(2), readlink(2) and their kin on the SGX devices, as system calls.
#pragma once

#include <optional>

#include "base/errno.h"
#include "engine/calls/call.h"
#include "engine/calls/devices.h"

namespace enclume::engine {

/// The answer to a call that looks at one of the devices; nothing for other calls and other files.
/// Signal context: safe.
[[nodiscard]] std::optional<SysResult<long>> status_of_device(const Call& call);

}  // namespace enclume::engine
