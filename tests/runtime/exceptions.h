// SPDX-License-Identifier: Apache-2.0
// Calls that raise exceptions inside, and what the enclave does about them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "enclume/edge/interface.h"

namespace exceptions {

struct Caught {
  std::uint32_t vector;
  std::uint32_t error_code;
  std::uint64_t address;
  bool operator==(const Caught&) const = default;
};

// In the enclave.
std::uint64_t repair_division();
std::uint32_t skip_cpuid();
Caught guarded_read(std::uint64_t address);
std::uint64_t unwind_by_handler();
std::string order();
std::string call_out_of_handler();
std::uint64_t fault_in_handler();
void fault_in_every_handler();
void overflow_the_handlers_stack();
std::string guard_around_ocall();
void divide_by_zero();
std::uint64_t handlers_left();
bool fault_between_arguments();
void fault_in_heap();
bool free_twice();
bool align_beyond_reason();
/// Does what raises this exception, and says which one a guard has seen; and whether it may compute on.
std::uint32_t raise(std::uint32_t vector);

// In the host.
void say(std::string_view text);
std::string say_both(std::string_view first, std::string_view second);
void set_page(std::uint64_t page, bool accessible);

}  // namespace exceptions

using Exceptions = enclume::Interface<
    enclume::Ecalls<exceptions::repair_division, exceptions::skip_cpuid, exceptions::guarded_read,
                    exceptions::unwind_by_handler, exceptions::order, exceptions::call_out_of_handler,
                    exceptions::fault_in_handler, exceptions::fault_in_every_handler,
                    exceptions::overflow_the_handlers_stack, exceptions::guard_around_ocall,
                    exceptions::divide_by_zero, exceptions::handlers_left,
                    exceptions::fault_between_arguments, exceptions::fault_in_heap, exceptions::free_twice,
                    exceptions::align_beyond_reason, exceptions::raise>,
    enclume::Ocalls<exceptions::say, exceptions::say_both, exceptions::set_page>>;
