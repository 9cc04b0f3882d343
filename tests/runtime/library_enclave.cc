// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "enclume/enclave/enclave.h"
#include "runtime/library.h"

ENCLUME_ENCLAVE(Library);

std::string library::run(std::uint32_t part, std::uint64_t seed) {
  return part < kParts.size() ? kParts[part].run(seed) : std::string();
}

// What the enclave's snprintf does not know.
std::uint64_t library::print_unknown(std::uint32_t which) {
  static const char* const formats[] = {"%f", "%n", "%y", "%99999999999d", "%"};
  char text[16];
  return which < std::size(formats)
             ? static_cast<std::uint64_t>(std::snprintf(text, sizeof text, formats[which], 0, 0))
             : 0;
}
