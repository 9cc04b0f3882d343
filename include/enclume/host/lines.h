// SPDX-License-Identifier: Apache-2.0
// Source files and lines for dumps, by elfutils' libdw. A library of its own, enclume::lines, which is there
// if libdw was when Enclume was built.
#pragma once

#include <memory>
#include <string>

#include "enclume/host/dump.h"

namespace enclume {

/// By the debug information of the enclave's unsigned file (the signed one has none): "name at file.cc:34".
/// Null if there is none.
[[nodiscard]] std::unique_ptr<Symbolizer> lines_of(const std::string& path);

}  // namespace enclume
