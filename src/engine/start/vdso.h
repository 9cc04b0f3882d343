// SPDX-License-Identifier: Apache-2.0
// The vDSO that the program sees.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/types.h"
#include "engine/start/processor.h"
#include "kernel/fixup/fixup.h"

namespace enclume::engine {

/// Builds our image from the machine's vDSO, puts it where it belongs (vdso_place.S) or has ld.so load it,
/// and makes the auxiliary vector point to it. Returns its ENCLU and where exceptions there go; nothing if
/// the design has no function in the vDSO, or if the program would be left with the machine's (a message says
/// why). Once, at start. Signal context: unsafe.
///
/// vdso_place() may have the image of `facts`, from another process. It is used if it was built from the
/// same; else, if possible, the one that is built becomes what others can use.
std::optional<kernel::FixupSite> install_vdso(char** environment, kernel::ExceptionDesign design,
                                              StartFacts& facts);

/// Where the image is put, unless it is too large. Before install_vdso() for what is to be handed to it.
std::span<std::byte> vdso_place();

/// AT_SYSINFO_EHDR as the program has it, 0 before install_vdso().
std::uint64_t vdso_address();

/// Without libc: a SYSCALL and RET in the image, by which debuggers, who look there but know nothing of this
/// library then, get from a system call that the engine makes in a handler to the program. Empty: there is
/// none.
LinearRange vdso_gate();

/// ld.so's handle of an image with the same symbols, null without one. Made when somebody asks: few do, and
/// it takes a good part of a process's start. It is never unloaded. Signal context: unsafe.
void* vdso_handle();

}  // namespace enclume::engine
