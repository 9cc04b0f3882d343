// SPDX-License-Identifier: Apache-2.0
// Calls that do not end by themselves, in every way.
#pragma once

#include <cstdint>

#include "enclume/edge/interface.h"

namespace deadline {

// In the enclave.
void spin();
/// Allocates and frees without end.
void churn();
/// The same for a while, and locks a mutex for each.
std::uint64_t churn_for(std::uint32_t rounds);
/// The same without the mutex, which would stay locked if the call ended in it.
std::uint64_t allocate_for(std::uint32_t rounds);
void lock_and_sleep();
void sleep_in_mutex();
void call_outside_for_ever();
void spin_in_handler();
void spin_on_stack(std::uint64_t depth);
std::uint64_t add(std::uint64_t a, std::uint64_t b);
bool is_mutex_free();
std::uint32_t nested_spin();

// In the host.
void nothing();
std::uint32_t call_back();

}  // namespace deadline

using Deadline = enclume::Interface<
    enclume::Ecalls<deadline::spin, deadline::churn, deadline::churn_for, deadline::allocate_for,
                    deadline::lock_and_sleep, deadline::sleep_in_mutex, deadline::call_outside_for_ever,
                    deadline::spin_in_handler, deadline::spin_on_stack, deadline::add,
                    deadline::is_mutex_free, deadline::nested_spin>,
    enclume::Ocalls<deadline::nothing, deadline::call_back>>;
