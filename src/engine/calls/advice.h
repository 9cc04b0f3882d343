// SPDX-License-Identifier: Apache-2.0
// madvise(2) and mlock(2) where the range touches an enclave. Linux treats such mappings as it does a
// device's memory (VM_IO, VM_PFNMAP): it neither locks nor drops their pages. Natively they are a file's.
#pragma once

#include <cstddef>
#include <optional>

#include "base/errno.h"

namespace enclume::engine {

/// The answer to madvise() of a range with enclaves in it; nothing where the kernel can be asked. What the
/// range covers beside them is left alone if the answer is an error. Signal context: safe.
[[nodiscard]] std::optional<SysResult<long>> front_madvise(void* address, std::size_t length, int advice);

/// The same for mlock2(), mlock() being the one without flags: ordinary memory is locked, enclaves are passed
/// over.
[[nodiscard]] std::optional<SysResult<long>> front_mlock(void* address, std::size_t length, unsigned flags);

}  // namespace enclume::engine
