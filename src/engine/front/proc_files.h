// SPDX-License-Identifier: Apache-2.0
// Files in /proc that describe the processor or the program: their contents, with SGX added.
#pragma once

namespace enclume::engine {

/// Opens an edited copy of /proc/cpuinfo ("sgx sgx_lc" among the flags) or of /proc/self/auxv
/// (AT_SYSINFO_EHDR as the program has it), or /proc/self/mem itself (see front/memory_file.h). Returns a
/// descriptor, -1 with errno, or -2 if the path is none of these.
int open_proc_file(const char* path, int flags);

}  // namespace enclume::engine
