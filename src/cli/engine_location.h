// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace enclume::cli {

// $ENCLUME_ENGINE, or the engine that stands beside this executable in a build tree or an installed one.
// Throws Failure (kInternal) if there is none.
[[nodiscard]] std::string engine_path();

}  // namespace enclume::cli
