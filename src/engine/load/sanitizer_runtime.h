// SPDX-License-Identifier: Apache-2.0
// Sanitizers whose shared runtime wants to be the first library of its program.
#pragma once

#include <array>
#include <string_view>

#include "engine/load/program_file.h"

namespace enclume::engine {

/// A name as in DT_NEEDED.
using LibraryName = std::array<char, 64>;

/// The runtime that a dynamic program is linked to: AddressSanitizer's and its kin, which refuse to start
/// behind another preload. Empty if there is none. `name` holds what is returned. Signal context: safe.
[[nodiscard]] std::string_view sanitizer_runtime(int fd, const ProgramFile& file, LibraryName& name);

}  // namespace enclume::engine
