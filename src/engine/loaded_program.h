// SPDX-License-Identifier: Apache-2.0
// The static program that the engine has mapped into this process (start/load.cc), as the program knows
// itself.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace enclume::engine {

/// The file of the program, as /proc/self/exe would lead to it had the kernel loaded it. Empty in a process
/// that the kernel has loaded. Ends with a NUL, which does not count. Signal context: safe.
[[nodiscard]] std::string_view loaded_program();

/// Once, at start.
void set_loaded_program(std::string_view path);
/// /proc/self/exe leads there anyway.
void kernel_knows_loaded_program();

/// There is one, and the kernel would lead /proc/self/exe to the loader. Signal context: safe.
[[nodiscard]] bool hides_loader();

/// Whether a path is that of the process's executable in /proc, and the kernel would lead it to the loader:
/// then it stands for loaded_program(). Signal context: safe.
[[nodiscard]] bool names_loaded_program(std::string_view path);

}  // namespace enclume::engine
