// SPDX-License-Identifier: Apache-2.0
// What parses as ENCLUME_SETTINGS survives the way back: the format has one meaning.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cli/settings.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto settings = enclume::cli::parse_settings({reinterpret_cast<const char*>(data), size});
  if (settings && enclume::cli::parse_settings(enclume::cli::serialise(*settings)) != settings) std::abort();
  return 0;
}
