// SPDX-License-Identifier: Apache-2.0
// "Did you mean …?"
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace enclume::cli {

// The number of characters to insert, delete, replace or swap with their neighbour to get from one to the
// other.
[[nodiscard]] std::size_t edit_distance(std::string_view from, std::string_view to);

// The candidate that is closest to `word`, if it is close enough to be a slip of the finger.
[[nodiscard]] std::optional<std::string_view> nearest_word(std::string_view word,
                                                           std::span<const std::string_view> candidates);

}  // namespace enclume::cli
