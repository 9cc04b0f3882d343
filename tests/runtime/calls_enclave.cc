// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdlib>

#include <cstring>
#include <utility>

#include "enclume/enclave/enclave.h"
#include "runtime/calls.h"

ENCLUME_ENCLAVE(Calls);

namespace calls {
namespace {

constexpr enclume::Outside<Calls> outside;

struct Counted {
  Counted() : value(4711) {}
  std::uint32_t value;
};
const Counted counted;
const char* const relocated = "a pointer in the image";
// With a constructor, and a destructor that nobody ever calls.
struct Counter {
  Counter() : value(counted.value - 4611) {}
  ~Counter() { value = 0; }
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;
  std::uint32_t value;
};
thread_local Counter calls_of_thread;
std::atomic<std::uint32_t> met = 0;
std::uint64_t secret = 0x5ec2e7;

}  // namespace

std::int64_t add(std::int8_t a, std::uint32_t b, bool negate, double scale, Colour colour) {
  const auto sum =
      static_cast<std::int64_t>((a + std::int64_t{b}) * static_cast<std::int64_t>(scale * 4) / 4);
  return (negate ? -sum : sum) + static_cast<std::int64_t>(colour);
}

Mixed invert(const Mixed& mixed) {
  return {!mixed.flag, -mixed.number, static_cast<std::uint16_t>(~mixed.small)};
}

Point middle(std::span<const Point> points) {
  Point sum{0, 0};
  for (const Point& point : points) sum = {sum.x + point.x, sum.y + point.y};
  const auto count = static_cast<std::int32_t>(points.size());
  return count == 0 ? sum : Point{sum.x / count, sum.y / count};
}

void twice(std::span<std::uint32_t> numbers) {
  for (std::uint32_t& number : numbers) number *= 2;
}

void fill(enclume::OutSpan<std::byte> bytes, std::size_t count) {
  for (std::byte& byte : bytes.first(count)) byte = std::byte{0xee};
}

std::string repeat(std::string_view text, std::uint32_t times) {
  std::string result;
  for (std::uint32_t i = 0; i < times; ++i) result += text;
  return result;
}

std::vector<std::uint64_t> squares(std::uint32_t count) {
  std::vector<std::uint64_t> result;
  for (std::uint64_t i = 0; i < count; ++i) result.push_back(i * i);
  return result;
}

std::string describe(const Drawing& drawing, std::optional<std::uint32_t> limit) {
  std::string result(drawing.name);
  result += drawing.is_open ? " open " : " closed ";
  result += drawing.tag;
  std::size_t count = drawing.points.size();
  if (limit && *limit < count) count = *limit;
  for (const Point& point : drawing.points.first(count)) result += static_cast<char>('0' + point.x);
  return result;
}

std::expected<std::string, Refusal> at_least(std::uint32_t number, std::uint32_t least) {
  if (number < least) return std::unexpected(Refusal::kTooSmall);
  return "fine";
}

std::uint64_t heap_bytes_free() {
  // The largest block that can be had: all of it, if nothing is lost.
  std::size_t low = 0, high = std::size_t{1} << 32;
  while (high - low > 16) {
    const std::size_t middle_size = (low + high) / 2;
    void* const block = std::malloc(middle_size);
    (block != nullptr ? low : high) = middle_size;
    std::free(block);
  }
  return low;
}

std::expected<void, enclume::Error> talk(std::string_view text) {
  return outside.call<hear>(text);
}

std::uint64_t descend(std::uint32_t depth) {
  // On the stack while the host is asked, and looked at again afterwards.
  volatile std::uint64_t mark = depth * std::uint64_t{0x0101010101010101};
  if (depth == 0) return 1;
  const auto deeper = outside.call<descend_further>(depth - 1);
  if (mark != depth * std::uint64_t{0x0101010101010101}) return 0;
  return deeper ? *deeper + 1 : 0;
}

enclume::Error ask_and_tell(std::uint32_t what) {
  const auto result = outside.call<fail>(what);
  return result ? enclume::Error() : result.error();
}

std::string ask_outside(std::span<const std::uint32_t> numbers) {
  std::vector<std::uint32_t> doubled(numbers.begin(), numbers.end());
  std::vector<std::uint32_t> ones(numbers.size());
  const auto said = outside.call<answer>(numbers, std::span(doubled), enclume::OutSpan<std::uint32_t>(ones));
  if (!said) return "error";
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (doubled[i] != 2 * numbers[i] || ones[i] != 1) return "wrong";
  }
  return *said;
}

std::uint32_t constructed() {
  return std::string_view(relocated) == "a pointer in the image" ? counted.value : 0;
}

std::uint32_t count_calls_of_thread() {
  return ++calls_of_thread.value;
}

std::uint64_t read_at(std::uint64_t address) {
  return *reinterpret_cast<const volatile std::uint64_t*>(address);
}

std::uint64_t divide(std::uint64_t a, std::uint64_t b) {
  std::uint64_t high = 0;
  asm volatile("divq %2" : "+a"(a), "+d"(high) : "r"(b) : "cc");
  return a;
}

void give_up() {
  std::abort();
}

namespace {
// Deeper than any stack, which the compiler cannot know.
[[gnu::noinline]] unsigned fill_stack(unsigned depth) {
  volatile unsigned char page[1024];
  page[0] = static_cast<unsigned char>(depth);
  return depth == 0 ? 0 : fill_stack(depth - 1) + page[0];
}
}  // namespace

void exhaust_stack() {
  volatile unsigned depth = 1'000'000;
  depth = fill_stack(depth);
}

// At once, and touches the far end of it only.
std::uint64_t take_from_stack(std::uint64_t bytes) {
  auto* const block = static_cast<volatile char*>(__builtin_alloca(bytes));
  block[0] = 1;
  return static_cast<std::uint64_t>(block[0]);
}

double third() {
  volatile double one = 1, three = 3;
  return one / three;
}

std::uint64_t third_by_x87() {
  volatile long double one = 1, three = 3;
  const long double result = one / three;
  std::uint64_t significand;
  std::memcpy(&significand, &result, sizeof significand);
  return significand;
}

std::uint64_t meet(std::uint32_t how_many) {
  ++met;
  while (met.load() < how_many) __builtin_ia32_pause();
  return met.load();
}

std::uint64_t add_and_clear(std::expected<std::span<std::uint32_t>, Refusal> numbers) {
  if (!numbers) return static_cast<std::uint64_t>(numbers.error());
  std::uint64_t sum = 0;
  for (std::uint32_t& number : *numbers) sum += std::exchange(number, 0);
  return sum;
}

std::uint64_t add_up(const std::vector<std::uint32_t>& numbers, const std::string& more) {
  std::uint64_t sum = 0;
  for (const auto number : numbers) sum += number;
  for (const char c : more) sum += static_cast<unsigned char>(c);
  return sum;
}

std::uint64_t address_of_secret() {
  return reinterpret_cast<std::uint64_t>(&secret);
}

}  // namespace calls
