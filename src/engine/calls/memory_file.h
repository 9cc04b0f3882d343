// SPDX-License-Identifier: Apache-2.0
// /proc/self/mem: what Linux shows there of an enclave is what EDBGRD and EDBGWR give, to debug enclaves
// only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/errno.h"

namespace enclume::engine {

/// Remembers that a descriptor of this number was opened on the process's own memory file.
void hint_memory_file(int fd);

/// Whether a descriptor of this number ever was: a hint that costs a load.
[[nodiscard]] bool may_be_memory_file(int fd);

enum class Transfer : std::uint8_t {
  Read,
  Write
};

/// read(2), write(2), or with an offset pread(2), pwrite(2) on the process's own memory file. Nothing if the
/// descriptor is no such file, or no enclave lies in the range: then the kernel's own answer is right.
/// Errors: Io as mem_rw() (fs/proc/base.c) where nothing could be done, BadFile, Fault.
[[nodiscard]] std::optional<SysResult<long>> memory_file_io(int fd, void* data, std::size_t size,
                                                            std::optional<std::uint64_t> offset,
                                                            Transfer transfer);

}  // namespace enclume::engine
