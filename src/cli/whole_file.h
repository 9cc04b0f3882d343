// SPDX-License-Identifier: Apache-2.0
// Files that a verb reads or writes as a whole.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace enclume::cli {

// Throws Failure with ExitStatus::kUsage, in the name of `verb`.
[[nodiscard]] std::vector<std::byte> read_file(std::string_view verb, const std::string& name);

// Replaces the file at once, so that nobody sees half of it. `mode`: permissions of the new file, before
// umask.
void write_file(std::string_view verb, const std::string& name, std::span<const std::byte> bytes,
                unsigned mode);

}  // namespace enclume::cli
