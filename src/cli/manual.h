// SPDX-License-Identifier: Apache-2.0
// Turns a verb's manual into what `--help` prints and into a man page.
#pragma once

#include <string>

#include "cli/verb.h"

namespace enclume::cli {

// The manual of enclume itself, with a list of the verbs.
[[nodiscard]] Manual overview();

// Plain text for a terminal, wrapped at 80 columns. `app` holds the options; null for a manual without any.
[[nodiscard]] std::string manual_as_text(const Manual& manual, const CLI::App* app);

// The same in roff, section 1.
[[nodiscard]] std::string manual_as_roff(const Manual& manual, const CLI::App* app);

}  // namespace enclume::cli
