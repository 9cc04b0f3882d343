// SPDX-License-Identifier: Apache-2.0
// The vDSO that the program sees.
#pragma once

#include <cstdint>
#include <optional>

#include "kernel/fixup/fixup.h"

namespace enclume::engine {

/// Builds our image from the machine's vDSO, puts it where it belongs (vdso_place.S) or has ld.so load it,
/// and makes the auxiliary vector point to it. Returns its ENCLU and where exceptions there go; nothing if
/// the design has no function in the vDSO, or if the program would be left with the machine's (a message says
/// why). Once, at start. Signal context: unsafe.
std::optional<kernel::FixupSite> install_vdso(char** environment, kernel::ExceptionDesign design);

/// AT_SYSINFO_EHDR as the program has it, 0 before install_vdso().
std::uint64_t vdso_address();

/// ld.so's handle of an image with the same symbols, null without one. Made when somebody asks: few do, and
/// it takes a good part of a process's start. It is never unloaded. Signal context: unsafe.
void* vdso_handle();

}  // namespace enclume::engine
