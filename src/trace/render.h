// SPDX-License-Identifier: Apache-2.0
// An event as a line of text for people. docs/trace.md shows every kind.
#pragma once

#include "base/format.h"
#include "trace/event.h"

namespace enclume::trace {

/// Appends the line, without a newline. Signal context: safe.
void render(const Event& event, LineBuffer& line);

}  // namespace enclume::trace
