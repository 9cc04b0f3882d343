// SPDX-License-Identifier: Apache-2.0
// What an attempt has shown, and its form as JSON, which facts.h reads.
#pragma once

#include <array>
#include <nlohmann/json.hpp>

#include "cli/matrix/probe/door.h"

namespace enclume::cli::matrix::probe {

struct Report {
  Outcome outcome;
  std::uint64_t tcs = 0, entry = 0;
  std::uint64_t site = 0, after_site = 0, operand = 0;
  bool has_dump = false;
  std::array<std::uint8_t, DUMP_SIZE> dump{};
  bool is_host = false;
  Registers host_site{};  // at the instruction, if it was host code
};

[[nodiscard]] nlohmann::json to_json(const Report& report, Design design);
// What the caller's handler of the vDSO function got.
[[nodiscard]] nlohmann::json handler_to_json(const Report& report);

}  // namespace enclume::cli::matrix::probe
