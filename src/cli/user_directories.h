// SPDX-License-Identifier: Apache-2.0
// Where a user's files belong: the XDG base directory specification, version 0.8.
#pragma once

#include <optional>
#include <string>

namespace enclume::cli {

// The value of an XDG variable, else a place under the home directory; empty if neither is known.
[[nodiscard]] std::string user_directory(const char* variable, const char* below_home);

// mkdir -p with mode 0700 for what is missing. Throws std::system_error.
void make_directories(const std::string& directory);

// Enclume's cache, made if it is missing, and emptied if there is too much in it. Nothing if it can't be
// made, which costs time and nothing else.
[[nodiscard]] std::optional<std::string> cache_directory();

}  // namespace enclume::cli
