// SPDX-License-Identifier: Apache-2.0
// Carries out one cell and tells what was to be seen. It knows a cell's place and trigger, not what is
// expected of it.
#pragma once

#include <nlohmann/json.hpp>

#include "cli/matrix/probe/door.h"
#include "cli/matrix/row.h"

namespace enclume::cli::matrix::probe {

// Facts, see facts.h for the keys. Throws std::exception if the attempt could not be made.
[[nodiscard]] nlohmann::json attempt(const Cell& cell, Design design);

}  // namespace enclume::cli::matrix::probe
