// SPDX-License-Identifier: Apache-2.0
// What the host and the enclave of this sample call of each other.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "enclume/edge/interface.h"

namespace hello {

// In the enclave.
std::string greet(std::string_view name);
std::uint64_t sum(std::span<const std::uint32_t> numbers);

// In the host.
void print(std::string_view line);

}  // namespace hello

using Hello = enclume::Interface<enclume::Ecalls<hello::greet, hello::sum>,  //
                                 enclume::Ocalls<hello::print>>;
