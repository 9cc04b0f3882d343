// SPDX-License-Identifier: Apache-2.0
// What the program's ELF notes tell of the language that it is written in.
#pragma once

#include <elf.h>

#include <cstdint>
#include <span>

namespace enclume::engine {

/// Whether the program was made by Go's linker, which leaves a note of the owner "Go": Go's runtime calls the
/// kernel by itself. `segments` are the program's headers in memory (AT_PHDR).
[[nodiscard]] bool is_go_program(std::span<const Elf64_Phdr> segments);

}  // namespace enclume::engine
