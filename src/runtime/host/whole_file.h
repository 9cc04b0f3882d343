// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

namespace enclume::host {

/// All that can be read from the file, or from whatever the path leads to. Errno, 0: none.
[[nodiscard]] int read_whole_file(const char* path, std::vector<char>& contents);

}  // namespace enclume::host
