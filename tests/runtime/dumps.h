// SPDX-License-Identifier: Apache-2.0
// Calls of an enclave that fails in every manner, to see what it tells of it.
#pragma once

#include <cstdint>

#include "enclume/edge/interface.h"

namespace dumps {

// In the enclave.
void fail_with_secret(std::uint64_t secret, std::uint32_t depth);
void read_from(std::uint64_t address);
void fail_in_handler(std::uint32_t levels);
void overflow_the_stack();
void fail_with_frame_pointer(std::uint64_t rbp);
void fail_with_frames_in_a_circle();
void fail_in_an_ocall();
std::uint64_t handled();

// In the host.
void do_nothing();
void call_back();

}  // namespace dumps

using Dumps = enclume::Interface<
    enclume::Ecalls<dumps::fail_with_secret, dumps::read_from, dumps::fail_in_handler,
                    dumps::overflow_the_stack, dumps::fail_with_frame_pointer,
                    dumps::fail_with_frames_in_a_circle, dumps::fail_in_an_ocall, dumps::handled>,
    enclume::Ocalls<dumps::do_nothing, dumps::call_back>>;
