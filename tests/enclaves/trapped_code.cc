// SPDX-License-Identifier: Apache-2.0
#include "enclaves/trapped_code.h"

extern "C" {
extern const std::uint8_t enclume_trapped_start[];
extern const std::uint8_t enclume_trapped_end[];
extern const std::uint8_t enclume_trapped_cpuid_function[];
extern const std::uint8_t enclume_trapped_cpuid[];
extern const std::uint8_t enclume_trapped_behind_cpuid[];
extern const std::uint8_t enclume_trapped_same_page_handler[];
extern const std::uint8_t enclume_trapped_sum_same_page[];
extern const std::uint8_t enclume_trapped_count_calls[];
extern const std::uint8_t enclume_trapped_prefixed_function[];
extern const std::uint8_t enclume_trapped_prefixed_cpuid[];
extern const std::uint8_t enclume_trapped_behind_prefixed_cpuid[];
extern const std::uint8_t enclume_trapped_table[];
extern const std::uint8_t enclume_trapped_second[];
extern const std::uint8_t enclume_trapped_other_page_handler[];
extern const std::uint8_t enclume_trapped_load_immediate[];
extern const std::uint8_t enclume_trapped_read_table[];
}

namespace enclume::test {

TrappedCode trapped_code() {
  const auto offset = [](const std::uint8_t* label) {
    return static_cast<std::uint64_t>(label - enclume_trapped_start);
  };
  return {.cpuid_function = offset(enclume_trapped_cpuid_function),
          .cpuid = offset(enclume_trapped_cpuid),
          .behind_cpuid = offset(enclume_trapped_behind_cpuid),
          .same_page_handler = offset(enclume_trapped_same_page_handler),
          .sum_same_page = offset(enclume_trapped_sum_same_page),
          .count_calls = offset(enclume_trapped_count_calls),
          .prefixed_function = offset(enclume_trapped_prefixed_function),
          .prefixed_cpuid = offset(enclume_trapped_prefixed_cpuid),
          .behind_prefixed_cpuid = offset(enclume_trapped_behind_prefixed_cpuid),
          .table = offset(enclume_trapped_table),
          .second = offset(enclume_trapped_second),
          .other_page_handler = offset(enclume_trapped_other_page_handler),
          .load_immediate = offset(enclume_trapped_load_immediate),
          .read_table = offset(enclume_trapped_read_table)};
}

std::span<const std::uint8_t> trapped_code_bytes() {
  return {enclume_trapped_start, enclume_trapped_end};
}

}  // namespace enclume::test
