// SPDX-License-Identifier: Apache-2.0
// The machine's fuses, so to speak: 32 random bytes kept for each user, from which every key of the emulated
// machine is derived. They survive from run to run so that sealed data can be opened again.
#pragma once

#include <string>

#include "cli/settings.h"

namespace enclume::cli {

// $XDG_STATE_HOME/enclume/machine-secret, or ~/.local/state/enclume/machine-secret. Empty if there is no
// home.
[[nodiscard]] std::string machine_secret_path();

// Makes the file at `path` with fresh random bytes if it is not there yet. Two first runs at the same time
// agree on one secret. Throws Failure if the file exists but cannot be what we wrote, std::system_error if
// it can be neither read nor made.
void ensure_machine_secret(const std::string& path);

// Fresh bytes from the kernel.
[[nodiscard]] SecretBytes random_secret();

}  // namespace enclume::cli
