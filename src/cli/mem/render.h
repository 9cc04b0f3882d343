// SPDX-License-Identifier: Apache-2.0
// A snapshot as text, as JSON and as a picture.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "cli/mem/snapshot.h"

namespace enclume::cli {

// A table for each enclave: ranges of equal pages, then sums.
[[nodiscard]] std::string to_text(const Snapshot& snapshot);
// Keys stay the same from version to version. Addresses are strings, since numbers of JSON are doubles.
[[nodiscard]] nlohmann::json to_json(const Snapshot& snapshot);

// A map of pages, one picture for each enclave, as one SVG document; or as an HTML page that contains it.
[[nodiscard]] std::string to_svg(const Snapshot& snapshot);
[[nodiscard]] std::string to_html(const Snapshot& snapshot);

// "REG", "rw-", "evicted, pending", "64K"
[[nodiscard]] std::string type_name(arch::PageType type);
[[nodiscard]] std::string permissions_name(kernel::Protection permissions);
[[nodiscard]] std::string state_name(const PageKind& kind);
[[nodiscard]] std::string size_name(std::uint64_t bytes);

// What is said of an enclave as a whole: "debug, initialised".
[[nodiscard]] std::string state_name(const EnclaveView& enclave);

}  // namespace enclume::cli
