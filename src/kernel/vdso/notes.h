// SPDX-License-Identifier: Apache-2.0
// The notes of the machine's vDSO say which kernel it is from and which build it is. The first stays true of
// our image, the second does not.
#pragma once

#include <cstddef>
#include <span>

#include "kernel/vdso/elf_bytes.h"
#include "kernel/vdso/machine_vdso.h"

namespace enclume::kernel {

/// Changes each NT_GNU_BUILD_ID among `notes`, which were appended to `out` at `start`, so that a debugger or
/// profiler does not take our image for the machine's: mixes in a hash of `code`. The same machine and the
/// same code give the same id. Malformed notes are left as they are. Signal context: safe.
void rename_build(ByteWriter& out, std::size_t start, const VdsoNotes& notes,
                  std::span<const std::byte> code) noexcept;

}  // namespace enclume::kernel
