// SPDX-License-Identifier: Apache-2.0
// Sanitizers whose shared runtime wants to be the first library of its program.
#pragma once

#include <string>

namespace enclume::cli {

// The runtime that the program at `path` is linked to, as DT_NEEDED names it: AddressSanitizer's and its kin,
// which refuse to start behind another preload. Empty if there is none, or the file can't be read as an ELF
// program; a script has none.
[[nodiscard]] std::string sanitizer_runtime(const std::string& path);

}  // namespace enclume::cli
