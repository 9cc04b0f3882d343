// SPDX-License-Identifier: Apache-2.0
// The first line of a script, as load_script() reads it (fs/binfmt_script.c).
#pragma once

#include <optional>

#include "engine/load/program_file.h"

namespace enclume::engine {

/// So many scripts can be each other's interpreters before the kernel gives up (exec_binprm()).
inline constexpr int kMaxScriptDepth = 5;

struct ScriptLine {
  const char* interpreter;
  const char* argument;  ///< null: none. There is never more than one
};

/// Parses and cuts the line into strings, in place. Nothing where the kernel says ENOEXEC. Signal context:
/// safe.
[[nodiscard]] std::optional<ScriptLine> parse_script_line(FileHead& head);

}  // namespace enclume::engine
