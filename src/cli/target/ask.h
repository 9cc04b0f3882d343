// SPDX-License-Identifier: Apache-2.0
// A request to the engine in another process (engine/control/request.h).
#pragma once

#include "cli/target/target.h"
#include "engine/control/request.h"

namespace enclume::cli {

// Sends the request and waits for the answer. If this process is root's and the target another user's, it
// goes on as that user: the target could not answer root. Throws Failure (kNegative) if there is no
// permission or no answer.
[[nodiscard]] engine::ControlAnswer ask(const Target& target, engine::ControlRequest request);

}  // namespace enclume::cli
