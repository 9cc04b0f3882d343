// SPDX-License-Identifier: Apache-2.0
// Memory calls and ioctl as the front doors hand them on, whichever way they came in.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/errno.h"

namespace enclume::engine {

/// The system calls of these names, with enclaves looked after. `key` -1: mprotect.
SysResult<long> front_mmap(void* address, std::size_t length, int prot, int flags, int fd, off_t offset);
SysResult<long> front_munmap(void* address, std::size_t length);
SysResult<long> front_mprotect(void* address, std::size_t length, int prot, int key);
SysResult<long> front_mremap(void* address, std::size_t old_size, std::size_t new_size, int flags, void* to);

/// An SGX ioctl on a descriptor of the enclave device.
/// Nothing if it is not for a device of ours.
std::optional<SysResult<long>> front_ioctl(int fd, unsigned long command, std::uint64_t argument);

/// Whether the range touches a mapping of an enclave.
bool enclave_memory_concerned(std::uint64_t address, std::size_t length);

}  // namespace enclume::engine
