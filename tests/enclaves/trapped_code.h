// SPDX-License-Identifier: Apache-2.0
//
// The code of trapped_code.S, for ProbeOptions::code. Offsets count from its first byte.
#pragma once

#include <cstdint>
#include <span>

namespace enclume::test {

struct TrappedCode {
  std::uint64_t cpuid_function, cpuid, behind_cpuid, same_page_handler, sum_same_page, count_calls;
  std::uint64_t prefixed_function, prefixed_cpuid, behind_prefixed_cpuid, table;
  std::uint64_t second, other_page_handler, load_immediate, read_table;
};
TrappedCode trapped_code();
std::span<const std::uint8_t> trapped_code_bytes();

}  // namespace enclume::test
