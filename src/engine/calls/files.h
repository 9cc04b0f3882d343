// SPDX-License-Identifier: Apache-2.0
// Opening and closing files as the front doors hand them on, whichever way they came in.
#pragma once

#include <optional>

#include "base/errno.h"
#include "engine/calls/devices.h"
#include "engine/engine.h"
#include "engine/signals/mask.h"
#include "engine/trace/hooks.h"

namespace enclume::engine {

/// Opens what the engine has of its own under this name: the SGX devices that this machine does not have, and
/// the few files in /proc that say what it has. Nothing for all others. `path` can be read. Signal context:
/// safe.
[[nodiscard]] std::optional<SysResult<long>> open_own(int dirfd, const char* path, int flags);

/// close(2); `close_descriptor` is the way to do it, and returns SysResult<long>. Signal context: safe if
/// that is.
template <typename Close>
SysResult<long> close_own(int fd, Close close_descriptor) {
  if (!engine().active || !any_enclave() || device_of(fd) != Device::Enclave) {
    return close_descriptor(fd);
  }
  return traced(trace::Close{fd}, [&]() -> SysResult<long> {
    const SysResult<long> result = close_descriptor(fd);
    const SignalsBlocked blocked;
    release_unused_enclaves();
    return result;
  });
}

}  // namespace enclume::engine
