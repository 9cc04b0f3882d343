// SPDX-License-Identifier: Apache-2.0
// Takes back a symbol that the engine exports, before the program's first instruction.
#pragma once

#include <string_view>

namespace enclume::engine {

/// Afterwards nobody finds the engine's `name` any more, neither by dlsym() nor when a library is loaded, and
/// weak references that ld.so has bound to it already are null, as if it had never been there. For the
/// constructor, while nothing else runs. Signal context: unsafe.
void withdraw_symbol(std::string_view name);

}  // namespace enclume::engine
