// SPDX-License-Identifier: Apache-2.0
// What the runtime's benchmark and its enclave call of each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "enclume/edge/interface.h"

namespace runtime_calls {

// In the enclave.
void nothing();
void nothing_outside(std::uint64_t times);
std::uint64_t take(std::span<const std::byte> bytes);
void give(enclume::OutSpan<std::byte> bytes);
void lock_and_unlock(std::uint64_t times);
bool take_from_heap(std::uint64_t bytes);
/// 4 KiB as often, each with a key of its own; false: it could not.
bool seal(std::uint64_t times);
bool unseal(std::uint64_t times);
/// Divides by zero as often; a handler in the enclave puts the divisor right. How often it was asked.
std::uint64_t divide_by_zero(std::uint64_t times);

// In the host.
void nothing_there();

}  // namespace runtime_calls

using RuntimeCalls = enclume::Interface<
    enclume::Ecalls<runtime_calls::nothing, runtime_calls::nothing_outside, runtime_calls::take,
                    runtime_calls::give, runtime_calls::lock_and_unlock, runtime_calls::take_from_heap,
                    runtime_calls::seal, runtime_calls::unseal, runtime_calls::divide_by_zero>,
    enclume::Ocalls<runtime_calls::nothing_there>>;
