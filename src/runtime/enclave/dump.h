// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "enclume/enclave/exception.h"

namespace enclume::enclave {

/// Asks the processor whether this is a debug enclave. Once, before the first dump().
void learn_whether_debug() noexcept;

/// Tells the host of an exception that has ended the code which ran at CSSA `level`: to the array of
/// DumpRecords at `records`, if there is one. Registers only if this is a debug enclave or was built to tell
/// them. Needs little stack.
void dump(const Exception& exception, std::uint64_t level, std::uint64_t records) noexcept;

}  // namespace enclume::enclave
