// SPDX-License-Identifier: Apache-2.0
// What an object's ELF headers in memory tell of it.
#pragma once

#include <elf.h>

#include <cstdint>
#include <span>

namespace enclume::engine {

/// What has to be added to the addresses in the headers (AT_PHDR): by the headers' own, or by the segment
/// that the file begins with, right behind whose header they stand. 0 if neither is there.
[[nodiscard]] std::uint64_t load_bias(std::span<const Elf64_Phdr> segments);

/// Whether the program was made by Go's linker, which leaves a note of the owner "Go": Go's runtime calls the
/// kernel by itself. `segments` are the program's headers in memory (AT_PHDR).
[[nodiscard]] bool is_go_program(std::span<const Elf64_Phdr> segments);

}  // namespace enclume::engine
