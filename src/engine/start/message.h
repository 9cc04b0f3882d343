// SPDX-License-Identifier: Apache-2.0
// What the engine has to say to the user, on standard error.
#pragma once

#include <string_view>

namespace enclume::engine {

/// "enclume: warning: TEXT".
void warn(std::string_view text);
/// "enclume: debug: TEXT", for `enclume run --debug`.
void tell(std::string_view text);
/// "enclume: TEXT", then the process ends with status 126: the program could not be run as asked.
[[noreturn]] void refuse(std::string_view text);

}  // namespace enclume::engine
