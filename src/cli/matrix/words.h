// SPDX-License-Identifier: Apache-2.0
// The values of rows, for people.
#pragma once

#include <string>
#include <string_view>

#include "cli/matrix/row.h"

namespace enclume::cli::matrix {

// "function", "handler", "signal" … for a letter of Row::who.
[[nodiscard]] std::string_view who_word(char who);
[[nodiscard]] std::string vector_words(const Row& row);     // "14, 0x8007"
[[nodiscard]] std::string value_words(const Value& value);  // "AEP", "operand & ~fff", "0x18"
[[nodiscard]] std::string signal_words(const Signal& signal);
[[nodiscard]] std::string registers_words(const Row& row);
[[nodiscard]] std::string saved_words(const Row& row);
[[nodiscard]] std::string cssa_words(const Cell& cell);
// Why it cannot be tried or what it needs; empty for most rows.
[[nodiscard]] std::string remark_words(const Row& row);

}  // namespace enclume::cli::matrix
