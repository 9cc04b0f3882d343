// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace enclume::cli {

// Appends `text`, broken at blanks to fit 80 columns, each line indented, and ends the last line.
void append_wrapped(std::string& out, std::string_view text, std::size_t indent);

}  // namespace enclume::cli
