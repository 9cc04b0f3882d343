// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/files.h"

#include <array>
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
  const std::string_view name(path);
  if (name.starts_with("/proc/")) {
    return open_proc_file(path, flags);
  }
  // lscpu holds /proc open, and a shell may be there.
  constexpr std::string_view kCpuinfo = "cpuinfo";
  if (name.starts_with('/') || !name.ends_with(kCpuinfo)) {
    return std::nullopt;
  }
  constexpr const char* kWhole = "/proc/cpuinfo";
  std::array<char, 128> storage;
  return absolute_path(dirfd, name, storage) == kWhole ? open_proc_file(kWhole, flags) : std::nullopt;
}

}  // namespace enclume::engine
