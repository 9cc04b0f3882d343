// SPDX-License-Identifier: Apache-2.0
// The SGX devices in listings of /dev, where the machine has none of its own.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "base/errno.h"
#include "engine/calls/call.h"
#include "engine/calls/devices.h"

namespace enclume::engine {

struct DeviceNode {
  const char* path;
  std::string_view name;
  Device device;
};
inline constexpr std::array<DeviceNode, 2> kDeviceNodes = {
    {{"/dev/sgx_enclave", "sgx_enclave", Device::Enclave},
     {"/dev/sgx_provision", "sgx_provision", Device::Provision}}};

/// Whether a descriptor is open on /dev. Signal context: safe.
[[nodiscard]] bool is_dev(int fd);

/// Whether the machine has a node of this name itself. Signal context: safe.
[[nodiscard]] bool is_real(const DeviceNode& node);

/// getdents64(2) on /dev: the devices come before what is really there, since its beginning is known by the
/// file's position. Nothing for other directories, and for the rest of that one. Signal context: safe.
[[nodiscard]] std::optional<SysResult<long>> list_directory(const Call& call);

}  // namespace enclume::engine
