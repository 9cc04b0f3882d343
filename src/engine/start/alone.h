// SPDX-License-Identifier: Apache-2.0
// A process that enclume-load has mapped the engine into: there is no dynamic linker and no libc in it.
#pragma once

namespace enclume::engine {

/// Whether this process has a libc, which is so unless it was started that way. Signal context: safe.
[[nodiscard]] bool has_libc();

/// Writes to the pages of the engine that each start writes to, before anything is read there: for a read the
/// kernel would map sixteen pages of the file first, and copy the one when it is written to.
void touch_data();

}  // namespace enclume::engine
