// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

namespace enclume::cli {

// $ENCLUME_ENGINE, or the engine that stands beside this executable in a build tree or an installed one.
// Throws Failure (kInternal) if there is none.
[[nodiscard]] std::string engine_path();

// enclume-load, which executes static programs: beside this executable in a build tree, in libexec in an
// installed one. Nothing if it is not there.
[[nodiscard]] std::optional<std::string> loader_path();

}  // namespace enclume::cli
