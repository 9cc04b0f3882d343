// SPDX-License-Identifier: Apache-2.0
// An event for tools: in the "JSON array format" of Chrome's trace viewer, which Perfetto reads too.
// docs/trace.md tells what becomes of each kind.
#pragma once

#include <string_view>

#include "base/format.h"
#include "trace/event.h"

namespace enclume::trace {

/// Appends one to three elements of the array, each behind a comma and a newline: whoever makes the file
/// writes `[` and the first element. So the file lacks nothing but the closing bracket, which the format
/// leaves optional, at every moment. Signal context: safe.
void render_json(const Event& event, LineBuffer& out);

/// The element that names a thread's track.
void render_thread_name(int process, int thread, std::string_view name, LineBuffer& out);

/// The most that render_json() appends.
inline constexpr std::size_t kMaxJsonText = 4096;

}  // namespace enclume::trace
