// SPDX-License-Identifier: Apache-2.0
// The ioctls of include/enclume/uapi/enclume_control.h.
#pragma once

#include <cstdint>

#include "base/errno.h"
#include "kernel/enclave.h"

namespace enclume::engine {

/// By the magic number: whatever it is, no driver of Linux has it.
[[nodiscard]] constexpr bool is_control_ioctl(unsigned command) {
  return ((command >> 8) & 0xff) == 0xec;
}

/// `fd` is open on the enclave's file. Signal context: safe where a front door is.
[[nodiscard]] SysResult<long> control_ioctl(int fd, kernel::FileIdentity file, unsigned command,
                                            std::uint64_t argument) noexcept;

}  // namespace enclume::engine
