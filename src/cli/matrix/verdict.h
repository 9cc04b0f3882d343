// SPDX-License-Identifier: Apache-2.0
// What became of the cells, and how to show it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/matrix/row.h"
#include "kernel/fixup/design.h"

namespace enclume::cli::matrix {

enum class Verdict : std::uint8_t {
  kAsExpected,
  kDiffers,
  kDeviates,  // differs, in the way that the row says it must here
  kNotTried,  // no such place in this design, or nobody can bring it about
};

struct Result {
  const Cell* cell;
  kernel::ExceptionDesign design;
  Verdict verdict;
  std::vector<std::string> differences;
  nlohmann::json facts;  // null if not tried
};

// The machine that the facts come from.
struct Machine {
  bool has_silicon = false;  // the facts are of a processor with SGX: no deviation is excused
  bool has_hypervisor = false;
  bool is_strict = false;  // enclave code is single-stepped
};

[[nodiscard]] Result judge(const Cell& cell, kernel::ExceptionDesign design, nlohmann::json facts,
                           const Machine& machine);

// A table for terminals of the cells in `results`, differences below each row, and a summary.
[[nodiscard]] std::string to_text(const std::vector<Result>& results);
[[nodiscard]] nlohmann::json to_json(const std::vector<Result>& results);

// The rows themselves, without any run: docs/exception-matrix.md, and the same as JSON.
[[nodiscard]] std::string rows_to_markdown();
[[nodiscard]] nlohmann::json rows_to_json();
[[nodiscard]] std::string rows_to_text();

}  // namespace enclume::cli::matrix
