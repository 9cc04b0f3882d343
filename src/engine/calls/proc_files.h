// SPDX-License-Identifier: Apache-2.0
// Files in /proc that describe the processor or the program: their contents, with SGX added.
#pragma once

#include <optional>

#include "base/errno.h"

namespace enclume::engine {

/// Opens an edited copy of /proc/cpuinfo ("sgx sgx_lc" among the flags) or of /proc/self/auxv
/// (AT_SYSINFO_EHDR as the program has it), or /proc/self/mem itself (see calls/memory_file.h). Nothing if
/// the path is none of these. Signal context: safe.
std::optional<SysResult<long>> open_proc_file(const char* path, int flags);

}  // namespace enclume::engine
