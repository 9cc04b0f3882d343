// SPDX-License-Identifier: Apache-2.0
// What the host and the enclave of this sample call of each other.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "enclume/edge/interface.h"

namespace exceptions {

// In the enclave. Each meets an exception, and does something else about it.
std::uint64_t resume(std::uint64_t dividend, std::uint64_t divisor);
std::uint32_t skip();
std::string unwind(std::uint64_t address);
std::string pass_on();
std::uint64_t nested();
void unhandled(std::uint32_t depth);

// In the host.
void print(std::string_view line);

}  // namespace exceptions

using Exceptions =
    enclume::Interface<enclume::Ecalls<exceptions::resume, exceptions::skip, exceptions::unwind,
                                       exceptions::pass_on, exceptions::nested, exceptions::unhandled>,
                       enclume::Ocalls<exceptions::print>>;
