// SPDX-License-Identifier: Apache-2.0
// The vDSO that the program sees.
#pragma once

#include <cstdint>
#include <optional>

#include "kernel/fixup/fixup.h"

namespace enclume::engine {

/// Builds our image from the machine's vDSO, has ld.so load it, and makes the auxiliary vector point to it.
/// Returns its ENCLU and where exceptions there go; nothing if the design has no function in the vDSO, or if
/// the program would be left with the machine's (a message says why). Once, at start. Signal context: unsafe.
std::optional<kernel::FixupSite> install_vdso(char** environment, kernel::ExceptionDesign design);

/// AT_SYSINFO_EHDR as the program has it, 0 before install_vdso().
std::uint64_t vdso_address();

/// ld.so's handle of the image, null without one. It is never unloaded.
void* vdso_handle();

}  // namespace enclume::engine
