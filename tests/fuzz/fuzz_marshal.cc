// SPDX-License-Identifier: Apache-2.0
// The enclave's side of calls, in and out, against a host whose memory reads as it likes and who answers what
// it likes. Nothing is read or written but outside, no copy reaches beyond its memory (AddressSanitizer
// looks), all is freed.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enclume/enclave/enclave.h"

// The enclave's heap is small: what does not fit is not there. (libFuzzer takes 20 MiB at once for itself.)
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1:max_allocation_size_mb=24";
}

// For the enclave's own operator new, which this program has not got: there is room or there is none.
namespace enclume::enclave {
NextBlock::NextBlock(std::size_t bytes) noexcept {
  // Volatile: Clang leaves out a malloc() whose memory nobody uses, and says that there was some.
  void* volatile const block = std::malloc(bytes);
  is_there_ = block != nullptr;
  std::free(block);
}
NextBlock::~NextBlock() = default;
}  // namespace enclume::enclave

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

// ELRANGE.
constexpr std::uint64_t kBegin = 0x7000'0000'0000, kSize = 0x100'0000;

/// The host: bytes that repeat through all of its memory, and change now and then.
class Host {
 public:
  Host(const std::uint8_t* data, std::size_t size) : script_(data, data + size) {}

  std::uint64_t word() {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < 8; ++i) value |= std::uint64_t{byte()} << 8 * i;
    return value;
  }
  // Near something that matters, more often than not.
  std::uint64_t address() {
    const std::uint64_t far = word();
    switch (byte() % 4) {
      case 0:
        return far;
      case 1:
        return kBegin - far % 64;
      case 2:
        return kBegin + kSize - far % 64;
      default:
        return 0x10000 + far % 4096 * 16;
    }
  }
  std::uint8_t byte() {
    if (script_.empty()) return 0;
    const std::uint8_t value = script_[at_++ % script_.size()];
    return value;
  }
  std::uint8_t& memory(std::uint64_t address) { return memory_[address % memory_.size()]; }
  void fill_memory() {
    for (std::uint8_t& b : memory_) b = byte();
    // Sizes that are no numbers of petabytes, every other word.
    for (std::size_t i = 8; i < memory_.size(); i += 16) {
      if (byte() % 8 != 0)
        std::fill_n(memory_.begin() + static_cast<std::ptrdiff_t>(i) + 1 + (byte() % 16 == 0 ? 1 : 0), 6, 0);
    }
    for (std::size_t i = 0; i < memory_.size(); i += 16) {
      if (byte() % 8 == 0) continue;
      const std::uint64_t where = address();
      std::memcpy(memory_.data() + i, &where, sizeof where);
    }
  }

 private:
  std::vector<std::uint8_t> script_;
  std::size_t at_ = 0;
  std::array<std::uint8_t, 512> memory_{};
};

Host* host = nullptr;
enclume::edge::Mailbox mailbox;

bool outside(std::uint64_t address, std::size_t bytes) {
  if (bytes == 0) return true;
  const std::uint64_t last = address + (bytes - 1);
  return last >= address && (last < kBegin || address >= kBegin + kSize);
}

}  // namespace

// What src/runtime/enclave has for a real border.
namespace enclume::enclave {

bool is_outside(std::uint64_t address, std::size_t bytes) noexcept {
  return outside(address, bytes);
}

void copy_in(void* to, std::uint64_t from, std::size_t bytes) noexcept {
  require(outside(from, bytes));
  auto* const out = static_cast<std::uint8_t*>(to);
  constexpr std::size_t kEnough = 4096;
  for (std::size_t i = 0; i < bytes && i < kEnough; ++i) out[i] = host->memory(from + i);
  if (bytes > kEnough) std::memset(out + kEnough, host->byte(), bytes - kEnough);
  // Changed behind the reader's back: what is read a second time is something else.
  if (bytes != 0 && bytes <= 64) host->memory(from + host->byte() % bytes) ^= host->byte();
}

void copy_out(std::uint64_t to, const void* from, std::size_t bytes) noexcept {
  require(outside(to, bytes));
  const auto* const in = static_cast<const std::uint8_t*>(from);
  std::uint8_t all = 0;
  for (std::size_t i = 0; i < bytes; ++i) all ^= in[i];
  for (std::size_t i = 0; i < bytes && i < 512; ++i) host->memory(to + i) = in[i];
  asm volatile("" : : "r"(all));
}

Code leave(std::uint32_t number, std::uint64_t words, std::uint64_t) noexcept {
  require(number < 3 || number == ENCLUME_OCALL_ALLOCATE);
  require(outside(words, 8));
  if (host->byte() % 2 == 0) host->fill_memory();
  const std::uint64_t answer = host->address();
  for (unsigned i = 0; i < 8; ++i) host->memory(words + i) = static_cast<std::uint8_t>(answer >> 8 * i);
  const std::uint8_t status = host->byte();
  return status % 8 != 0 ? Code::kOk : static_cast<Code>(status % (static_cast<unsigned>(Code::kLast) + 1));
}

edge::Mailbox offered() noexcept {
  return mailbox;
}

}  // namespace enclume::enclave

namespace calls {

enum class Colour : std::uint8_t {
  kRed
};
struct Point {
  std::int32_t x, y;
};
struct Drawing {
  bool is_open;
  std::string_view name;
  std::span<const Point> points;
  std::optional<std::uint16_t> limit;
};
struct Answer {
  std::uint64_t number;
  std::array<std::uint16_t, 4> more;
};

std::uint64_t sum_of(const auto& all) {
  std::uint64_t sum = 0;
  for (const auto& one : all) sum = sum * 31 + static_cast<std::uint64_t>(one);
  return sum;
}
std::uint64_t sum_of_points(std::span<const Point> points) {
  std::uint64_t sum = 0;
  for (const Point& p : points) sum += static_cast<std::uint32_t>(p.x) ^ static_cast<std::uint32_t>(p.y);
  return sum;
}

// In the host; never run here.
void hear(std::string_view text);
Answer answer(std::span<const std::uint32_t> numbers, std::span<std::uint32_t> both,
              enclume::OutSpan<std::uint16_t> back);
std::string say(std::uint32_t what);

std::int64_t add(std::int8_t a, std::uint32_t b, bool negate, double scale, Colour colour);
Point middle(std::span<const Point> points);
void twice(std::span<std::uint32_t> numbers);
void fill(enclume::OutSpan<std::byte> bytes, std::size_t count);
std::string repeat(std::string_view text, std::uint8_t times);
std::vector<std::uint64_t> widen(const std::vector<std::uint16_t>& numbers, std::string name);
std::string describe(const Drawing& drawing, std::optional<std::span<const std::uint8_t>> extra);
std::uint64_t mix(std::span<std::uint64_t> a, std::span<const std::uint16_t> b, std::span<std::uint8_t> c,
                  enclume::OutSpan<std::uint32_t> d);
std::uint64_t ask(std::span<const std::uint32_t> numbers);
std::string listen(std::uint32_t what);

using Calls = enclume::Interface<
    enclume::Ecalls<add, middle, twice, fill, repeat, widen, describe, calls::mix, ask, listen>,
    enclume::Ocalls<hear, answer, say>>;

std::int64_t add(std::int8_t a, std::uint32_t b, bool negate, double scale, Colour colour) {
  return static_cast<std::int64_t>(a) + b + (negate ? 1 : 0) + (scale > 0 ? 1 : 0) +
         static_cast<std::int64_t>(colour);
}

Point middle(std::span<const Point> points) {
  return {static_cast<std::int32_t>(sum_of_points(points)), 0};
}

void twice(std::span<std::uint32_t> numbers) {
  for (std::uint32_t& number : numbers) number *= 2;
}

void fill(enclume::OutSpan<std::byte> bytes, std::size_t count) {
  for (const std::byte b : bytes) require(b == std::byte{0});
  std::fill_n(bytes.begin(), std::min(count, bytes.size()), std::byte{0xee});
}

std::string repeat(std::string_view text, std::uint8_t times) {
  std::string result;
  for (unsigned i = 0; i < times && result.size() < 65536; ++i) result += text.substr(0, 65536);
  return result;
}

std::vector<std::uint64_t> widen(const std::vector<std::uint16_t>& numbers, std::string name) {
  std::vector<std::uint64_t> result;
  for (const std::uint16_t number : numbers) {
    if (result.size() < 10000) result.push_back(number);
  }
  result.push_back(sum_of(name));
  return result;
}

std::string describe(const Drawing& drawing, std::optional<std::span<const std::uint8_t>> extra) {
  std::uint64_t sum = sum_of(drawing.name) + sum_of_points(drawing.points) + drawing.limit.value_or(0);
  if (extra) sum += sum_of(*extra);
  return std::to_string(sum + (drawing.is_open ? 1 : 0));
}

std::uint64_t mix(std::span<std::uint64_t> a, std::span<const std::uint16_t> b, std::span<std::uint8_t> c,
                  enclume::OutSpan<std::uint32_t> d) {
  const std::uint64_t sum = sum_of(a) + sum_of(b) + sum_of(c);
  for (std::uint64_t& x : a) x ^= sum;
  for (std::uint8_t& x : c) x = static_cast<std::uint8_t>(sum);
  for (std::uint32_t& x : d) x = static_cast<std::uint32_t>(sum);
  return sum;
}

std::uint64_t ask(std::span<const std::uint32_t> numbers) {
  const enclume::Outside<Calls> out;
  std::vector<std::uint32_t> both(numbers.begin(), numbers.end());
  std::vector<std::uint16_t> back(numbers.size() % 4096);
  const auto said = out.call<answer>(numbers, std::span(both), enclume::OutSpan<std::uint16_t>(back));
  static_cast<void>(out.call<hear>(std::string_view("heard")));
  return sum_of(both) + sum_of(back) + (said ? said->number : 0);
}

std::string listen(std::uint32_t what) {
  // By the parts that Outside::call() is made of: std::expected<std::string, …> is too much for Clang 14.
  using Call = enclume::edge::Signature<decltype(&say)>;
  std::uint64_t words[Call::kWords]{};
  enclume::enclave::Outbound<0> out(enclume::enclave::offered());
  const std::uint64_t at = out.reserve(sizeof words);
  Call::In::encode(Call::Parameters{what}, words, out);
  if (out.code() != enclume::Code::kOk) return "no room";
  enclume::enclave::copy_out(at, words, sizeof words);
  if (enclume::enclave::leave(2, at, out.used()) != enclume::Code::kOk) return "no answer";
  enclume::enclave::copy_in(words, at, Call::Out::kWords * 8);
  enclume::enclave::Inbound<0> in;
  const std::string said = Call::Out::decode(words, in);
  return in.code() == enclume::Code::kOk ? said : "a lie";
}

}  // namespace calls

ENCLUME_ENCLAVE(calls::Calls);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Host the_host(data, size);
  host = &the_host;
  const std::size_t number = the_host.byte() % enclume_service.count;
  mailbox = {};
  mailbox.words = the_host.address();
  mailbox.scratch = the_host.address();
  mailbox.scratch_size = the_host.byte() % 4 == 0 ? the_host.word() : the_host.byte() * 64U;
  the_host.fill_memory();
  const enclume::Code code = enclume_service.stubs[number](mailbox);
  require(code <= enclume::Code::kLast);
  if (mailbox.words % 8 != 0) require(code == enclume::Code::kBadPointer);
  return 0;
}
