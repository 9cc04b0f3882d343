// SPDX-License-Identifier: Apache-2.0
// The enclave that Enclume's own runtime builds of an image: src/runtime/host/image.h, measured.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "arch/structs/bytes.h"
#include "runtime/host/image.h"

namespace enclume::cli {

struct RuntimeImage {
  edge::EnclaveConfig config;
  std::uint64_t size;  // SECS.SIZE
  std::uint64_t pages;
  std::uint64_t measured_pages;  // whose contents are measured, too
  arch::Hash256 mrenclave;
};

// What the loader makes of the image, as the processor measures it.
[[nodiscard]] RuntimeImage measure_runtime_image(const host::Image& image);

// Nothing if the file is none.
[[nodiscard]] std::optional<RuntimeImage> read_runtime_image(std::span<const std::byte> file);

}  // namespace enclume::cli
