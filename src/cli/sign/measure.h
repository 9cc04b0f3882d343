// SPDX-License-Identifier: Apache-2.0
// The MRENCLAVE of an enclave's file, of whichever form, without loading it.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "arch/structs/bytes.h"
#include "runtime/host/image.h"

namespace enclume::cli {

struct Measured {
  std::string format;  // in words
  arch::Hash256 mrenclave;
  // An image of enclume_add_enclave(), which has a place for its signature.
  std::optional<host::Image> image;
};

// Throws Failure, in the name of `verb`, if the file is of no known form or damaged.
[[nodiscard]] Measured measure(std::string_view verb, const std::string& name,
                               std::span<const std::byte> file);

}  // namespace enclume::cli
