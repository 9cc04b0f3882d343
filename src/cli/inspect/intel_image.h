// SPDX-License-Identifier: Apache-2.0
// The enclave that the Intel SGX SDK's loader builds of a signed shared object: its loadable segments, then
// what the metadata's layout table adds (heap, threads with TCS, SSA and stack). Facts from Intel's
// common/inc/internal/metadata.h and psw/urts/loader.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "arch/structs/bytes.h"

namespace enclume::cli {

struct IntelImage {
  std::uint64_t pages = 0;           // all that are added
  std::uint64_t measured_pages = 0;  // whose contents are measured, too
  std::uint64_t tcs_pages = 0;
  // Nothing if the file is damaged or of a form that this does not know.
  std::optional<arch::Hash256> mrenclave;
  std::string problem;  // why; empty if there is a measurement
};

// `metadata` is the offset of the metadata's header in the file.
[[nodiscard]] IntelImage measure_intel_image(std::span<const std::byte> file, std::uint64_t metadata);

}  // namespace enclume::cli
