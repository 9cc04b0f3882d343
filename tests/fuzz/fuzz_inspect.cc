// SPDX-License-Identifier: Apache-2.0
// `enclume inspect` on any bytes: it must neither crash nor read outside, and what it says must hang
// together.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <span>

#include "cli/inspect/inspection.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  const auto inspection = enclume::cli::inspect(file);
  for (const auto& located : inspection.sigstructs) {
    if (located.found.offset > size || size - located.found.offset < sizeof(enclume::arch::Sigstruct))
      std::abort();
  }
  if (inspection.sgxs && inspection.sgxs->mrenclave && !inspection.sgxs->problem.empty()) std::abort();
  if (inspection.is_empty() && inspection.is_sound()) std::abort();
  if (enclume::cli::to_text(inspection, "file").empty()) std::abort();
  if (enclume::cli::to_json(inspection, "file").dump().empty()) std::abort();
  return 0;
}
