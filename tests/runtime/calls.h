// SPDX-License-Identifier: Apache-2.0
// What the runtime's tests and their enclave call of each other.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enclume/edge/interface.h"

namespace calls {

enum class Colour : std::uint8_t {
  kRed,
  kGreen
};
enum class Refusal : std::uint32_t {
  kTooSmall = 7
};

struct Point {
  std::int32_t x, y;
  bool operator==(const Point&) const = default;
};
// Not plain: has padding, a bool, and views.
struct Drawing {
  bool is_open;
  char tag;
  std::string_view name;
  std::span<const Point> points;
};
struct Mixed {
  bool flag;
  double number;
  std::uint16_t small;
  bool operator==(const Mixed&) const = default;
};

// In the enclave.
std::int64_t add(std::int8_t a, std::uint32_t b, bool negate, double scale, Colour colour);
Mixed invert(const Mixed& mixed);
Point middle(std::span<const Point> points);
void twice(std::span<std::uint32_t> numbers);
void fill(enclume::OutSpan<std::byte> bytes, std::size_t count);
std::string repeat(std::string_view text, std::uint32_t times);
std::vector<std::uint64_t> squares(std::uint32_t count);
std::string describe(const Drawing& drawing, std::optional<std::uint32_t> limit);
std::expected<std::string, Refusal> at_least(std::uint32_t number, std::uint32_t least);
std::uint64_t heap_bytes_free();
std::expected<void, enclume::Error> talk(std::string_view text);
std::uint64_t descend(std::uint32_t depth);
enclume::Error ask_and_tell(std::uint32_t what);
std::string ask_outside(std::span<const std::uint32_t> numbers);
std::uint32_t constructed();
std::uint32_t count_calls_of_thread();
std::uint64_t read_at(std::uint64_t address);
std::uint64_t divide(std::uint64_t a, std::uint64_t b);
void give_up();
void exhaust_stack();
std::uint64_t take_from_stack(std::uint64_t bytes);
double third();
std::uint64_t third_by_x87();  // the significand
std::uint64_t meet(std::uint32_t how_many);
std::uint64_t address_of_secret();
std::uint64_t add_and_clear(std::expected<std::span<std::uint32_t>, Refusal> numbers);
std::uint64_t add_up(const std::vector<std::uint32_t>& numbers, const std::string& more);

// In the host.
void hear(std::string_view text);
std::uint64_t descend_further(std::uint32_t depth);
std::string answer(std::span<const std::uint32_t> numbers, std::span<std::uint32_t> doubled,
                   enclume::OutSpan<std::uint32_t> ones);
void fail(std::uint32_t what);

}  // namespace calls

using Calls = enclume::Interface<
    enclume::Ecalls<calls::add, calls::invert, calls::middle, calls::twice, calls::fill, calls::repeat,
                    calls::squares, calls::describe, calls::at_least, calls::heap_bytes_free, calls::talk,
                    calls::descend, calls::ask_and_tell, calls::ask_outside, calls::constructed,
                    calls::count_calls_of_thread, calls::read_at, calls::divide, calls::give_up,
                    calls::exhaust_stack, calls::take_from_stack, calls::third, calls::third_by_x87,
                    calls::meet, calls::address_of_secret, calls::add_and_clear, calls::add_up>,
    enclume::Ocalls<calls::hear, calls::descend_further, calls::answer, calls::fail>>;
