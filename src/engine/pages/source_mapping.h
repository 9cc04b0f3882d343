// SPDX-License-Identifier: Apache-2.0
// Which mapping of the program an address lies in, for the sources of ADD_PAGES.
#pragma once

#include <optional>

#include "kernel/platform.h"

namespace enclume::engine {

/// Reads /proc/self/maps unless the last answer still holds: adding an enclave page by page asks thousands of
/// times for the same mapping. Signals are blocked by the caller, whose thread is `tid`.
[[nodiscard]] std::optional<kernel::SourceMapping> find_source_mapping(LinearAddress address, int tid);

}  // namespace enclume::engine
