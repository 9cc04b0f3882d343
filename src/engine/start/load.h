// SPDX-License-Identifier: Apache-2.0
// Static programs: how the process of enclume-load becomes the program's.
#pragma once

#include <string_view>

namespace enclume::engine {

/// The file of the static program that this process runs, as /proc/self/exe shows it for one that the kernel
/// has loaded; empty in any other process. Signal context: safe.
[[nodiscard]] std::string_view loaded_program();

/// Whether the kernel knows it as the process's executable, too.
[[nodiscard]] bool kernel_knows_loaded_program();

}  // namespace enclume::engine

/// For enclume-load's main(), with its argv, which is the kernel's stack: maps the program that the
/// environment names (load/initial_stack.h) and starts it. Returns only if this engine is not at work.
extern "C" void enclume_load_program(char** argv);
