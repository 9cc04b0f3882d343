// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/files.h"

#include <string_view>

#include "engine/calls/proc_files.h"

namespace enclume::engine {

std::optional<SysResult<long>> open_own(int dirfd, const char* path, int flags) {
  if (path == nullptr || !engine().active) {
    return std::nullopt;
  }
  if (const Device device = device_of_path(dirfd, path); device != Device::None) {
    if (any_enclave()) {
      const SignalsBlocked blocked;
      release_unused_enclaves();
    }
    const auto fd = traced(trace::Open{path, flags}, [&] { return open_device(device, flags); });
    return fd ? SysResult<long>(static_cast<long>(*fd)) : fail(fd.error());
  }
  return std::string_view(path).starts_with("/proc/") ? open_proc_file(path, flags) : std::nullopt;
}

}  // namespace enclume::engine
