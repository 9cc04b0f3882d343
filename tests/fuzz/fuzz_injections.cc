// SPDX-License-Identifier: Apache-2.0
// The text of `--inject`: what is taken has items that make up the text again, what is not has a remedy.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/inject/plan.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto plan = enclume::engine::parse_injections(text);
  if (!plan) {
    if (plan.error().remedy.empty()) std::abort();
    return 0;
  }
  std::string again;
  for (const auto& item : plan->all()) {
    if (!again.empty()) again += ',';
    again += plan->text_of(item);
    for (std::uint64_t n = 1; n < 4; ++n) (void)plan->is_due(item, n);
  }
  if (again != text) std::abort();
  return 0;
}
