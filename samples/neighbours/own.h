// SPDX-License-Identifier: Apache-2.0
// What the library by Enclume's runtime and its enclave call of each other.
#pragma once

#include <cstdint>

#include "enclume/edge/interface.h"

namespace own {

struct Result {
  std::uint64_t sum;
  std::uint64_t vector;  // of the exception that was seen to; NO_VECTOR: none
};

// In the enclave.
Result visit(std::uint32_t trouble, std::uint64_t value);

// In the host.
std::uint64_t go_on(std::uint64_t value);

}  // namespace own

using Own = enclume::Interface<enclume::Ecalls<own::visit>, enclume::Ocalls<own::go_on>>;
