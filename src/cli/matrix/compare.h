// SPDX-License-Identifier: Apache-2.0
// Facts that the probe printed, held against the rows.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/matrix/row.h"
#include "kernel/fixup/design.h"

namespace enclume::cli::matrix {

// What differs, one sentence each ("rdi is 0x6, not 0xd"); empty if the facts are as the row says. Facts are
// one line of the probe's output; whatever is missing in them counts as a difference.
[[nodiscard]] std::vector<std::string> differences(const Cell& cell, kernel::ExceptionDesign design,
                                                   const nlohmann::json& facts);

}  // namespace enclume::cli::matrix
