// SPDX-License-Identifier: Apache-2.0
// What the files of this directory share: one function a command, and the arguments' common checks.
#pragma once

#include <cstdint>

#include "base/errno.h"
#include "base/types.h"
#include "kernel/enclave.h"
#include "kernel/kernel.h"

namespace enclume::kernel {

// One file each. `argument` is the program's pointer.
[[nodiscard]] SysResult<long> ioctl_create(const Kernel&, Enclave&, LinearAddress argument) noexcept;
[[nodiscard]] SysResult<long> ioctl_add_pages(const Kernel&, Enclave&, LinearAddress argument) noexcept;
[[nodiscard]] SysResult<long> ioctl_init(const Kernel&, Enclave&, LinearAddress argument) noexcept;
[[nodiscard]] SysResult<long> ioctl_provision(const Kernel&, Enclave&, LinearAddress argument) noexcept;
[[nodiscard]] SysResult<long> ioctl_restrict_permissions(const Kernel&, Enclave&,
                                                         LinearAddress argument) noexcept;
[[nodiscard]] SysResult<long> ioctl_modify_types(const Kernel&, Enclave&, LinearAddress argument) noexcept;
[[nodiscard]] SysResult<long> ioctl_remove_pages(const Kernel&, Enclave&, LinearAddress argument) noexcept;

/// The two ioctls of design `per-mm`, which concern the address space and no enclave.
[[nodiscard]] bool is_enclu_handler_command(unsigned command) noexcept;
[[nodiscard]] SysResult<long> ioctl_enclu_handler(const Kernel&, unsigned command,
                                                  LinearAddress argument) noexcept;

/// Gives back the memory that ADD_PAGES has asked for ahead and not used.
void drop_unused_pages(const Kernel&, Enclave&) noexcept;

/// sgx_validate_offset_length(): whole pages, at least one, inside SIZE. Errors: Invalid.
[[nodiscard]] SysResult<void> check_range(const Enclave&, std::uint64_t offset,
                                          std::uint64_t length) noexcept;

/// sgx_ioc_sgx2_ready(). Errors: NoDevice (no SGX2), Invalid (not initialised).
[[nodiscard]] SysResult<void> check_sgx2_ready(const Kernel&, const Enclave&) noexcept;

template <typename T>
[[nodiscard]] bool read_user(const Kernel& kernel, T& to, LinearAddress from) noexcept {
  return kernel.platform.copy_from_user(&to, from, sizeof(T));
}
template <typename T>
[[nodiscard]] bool write_user(const Kernel& kernel, LinearAddress to, const T& from) noexcept {
  return kernel.platform.copy_to_user(to, &from, sizeof(T));
}

}  // namespace enclume::kernel
