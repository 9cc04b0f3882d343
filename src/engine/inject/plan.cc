// SPDX-License-Identifier: Apache-2.0
#include "engine/inject/plan.h"

#include <optional>

#include "base/types.h"

namespace enclume::engine {

namespace {

using Event = Injection::Event;
using When = Injection::When;
using Error = std::unexpected<PlanError>;

struct Named {
  std::string_view name;
  std::uint64_t value;
};

/// SDM Vol. 3D, "EINIT Return Value in RAX".
constexpr std::array<Named, 7> kEinitCodes = {{{"INVALID_SIG_STRUCT", 1},
                                               {"INVALID_ATTRIBUTE", 2},
                                               {"INVALID_MEASUREMENT", 4},
                                               {"INVALID_SIGNATURE", 8},
                                               {"INVALID_EINITTOKEN", 16},
                                               {"INVALID_CPUSVN", 32},
                                               {"UNMASKED_EVENT", 128}}};

constexpr std::array<Named, 6> kVectors = {{{"UD", static_cast<std::uint64_t>(arch::Vector::UD)},
                                            {"GP", static_cast<std::uint64_t>(arch::Vector::GP)},
                                            {"PF", static_cast<std::uint64_t>(arch::Vector::PF)},
                                            {"#UD", static_cast<std::uint64_t>(arch::Vector::UD)},
                                            {"#GP", static_cast<std::uint64_t>(arch::Vector::GP)},
                                            {"#PF", static_cast<std::uint64_t>(arch::Vector::PF)}}};

constexpr std::array<Named, 3> kUnits = {{{"us", 1'000}, {"ms", 1'000'000}, {"s", 1'000'000'000}}};

template <std::size_t N>
std::optional<std::uint64_t> find(const std::array<Named, N>& names, std::string_view text) {
  for (const Named& n : names) {
    if (n.name == text) {
      return n.value;
    }
  }
  return std::nullopt;
}

/// Digits at the beginning of `text`, which are taken off.
std::optional<std::uint64_t> take_decimal(std::string_view& text) {
  std::uint64_t value = 0;
  std::size_t digits = 0;
  while (digits < text.size() && digits < 18 && text[digits] >= '0' && text[digits] <= '9') {
    value = value * 10 + static_cast<std::uint64_t>(text[digits++] - '0');
  }
  text.remove_prefix(digits);
  return digits != 0 ? std::optional(value) : std::nullopt;
}

std::optional<std::uint64_t> decimal(std::string_view text) {
  const auto value = take_decimal(text);
  return text.empty() ? value : std::nullopt;
}

/// A multiple of the page size, in hexadecimal with 0x, or decimal.
std::optional<std::uint64_t> page_offset(std::string_view text) {
  std::optional<std::uint64_t> value;
  if (text.starts_with("0x") && text.size() > 2 && text.size() <= 14) {
    value = 0;
    for (const char c : text.substr(2)) {
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) {
        return std::nullopt;
      }
      value = *value * 16 + static_cast<std::uint64_t>(digit);
    }
  } else {
    value = decimal(text);
  }
  return value && *value % kPageSize == 0 ? value : std::nullopt;
}

std::expected<void, PlanError> parse_when(std::string_view text, Injection& i) {
  constexpr std::string_view kEvery = "every:";
  constexpr std::string_view kRandom = "random:";
  std::string_view rest = text;
  if (rest.starts_with(kEvery)) {
    i.when = When::EveryNth;
    rest.remove_prefix(kEvery.size());
  } else if (rest.starts_with(kRandom)) {
    i.when = When::Random;
    rest.remove_prefix(kRandom.size());
  }
  const auto number = take_decimal(rest);
  if (!number || *number == 0) {
    return Error({text, "N for the N-th time, every:N, random:N for one in N, or a time such as 500ms"});
  }
  i.n = *number;
  if (rest.empty()) {
    return {};
  }
  const auto unit = find(kUnits, rest);
  if (!unit || i.when != When::Nth) {
    return Error({text, "a number, or one with us, ms or s behind it, such as 500ms"});
  }
  if (i.event != Event::LoseEpc) {
    return Error({text, "N, every:N or random:N: only lose-epc happens at a time"});
  }
  i.when = When::After;
  constexpr std::uint64_t kDay = 86'400ULL * 1'000'000'000;
  if (i.n > kDay / *unit) {
    return Error({text, "a time of at most a day"});
  }
  i.n *= *unit;
  return {};
}

std::expected<void, PlanError> parse_value(std::optional<std::string_view> text, std::string_view item,
                                           Injection& i) {
  const auto must_be = [&](std::string_view remedy) { return Error({text ? *text : item, remedy}); };
  std::optional<std::uint64_t> value;
  switch (i.event) {
    case Event::EnterFault:
      value = text ? find(kVectors, *text) : std::nullopt;
      if (!value) {
        return must_be("an exception: eenter=#GP, eenter=#UD or eenter=#PF");
      }
      break;
    case Event::EinitCode:
      value = text ? find(kEinitCodes, *text) : std::nullopt;
      if (!value && text) {
        value = decimal(*text);
      }
      if (!value || *value == 0 || *value > 0xffff) {
        return must_be(
            "a code of EINIT: its number, or INVALID_SIG_STRUCT, INVALID_ATTRIBUTE, INVALID_MEASUREMENT, "
            "INVALID_SIGNATURE, INVALID_EINITTOKEN, INVALID_CPUSVN or UNMASKED_EVENT");
      }
      break;
    case Event::PageFault:
    case Event::BusError:
      value = text ? page_offset(*text) : std::nullopt;
      if (!value) {
        return must_be("the offset of a page in its enclave, a multiple of 0x1000: page-fault=0x3000");
      }
      break;
    case Event::LoseEpc:
    case Event::EpcFull:
    case Event::Interrupt:
    case Event::BackingFull:
      if (text) {
        return must_be("nothing between the event and the @");
      }
      value = 0;
      break;
  }
  i.value = *value;
  return {};
}

std::expected<Injection, PlanError> parse_item(std::string_view item) {
  const std::size_t at = item.find('@');
  std::string_view event = item.substr(0, at);
  std::optional<std::string_view> value;
  if (const std::size_t equals = event.find('='); equals != std::string_view::npos) {
    value = event.substr(equals + 1);
    event = event.substr(0, equals);
  }
  Injection i;
  bool known = false;
  for (std::size_t n = 0; n < kInjectionEvents.size(); ++n) {
    if (event == kInjectionEvents[n]) {
      i.event = static_cast<Event>(n);
      known = true;
    }
  }
  if (!known) {
    return Error({event, "an event", true});
  }
  if (at == std::string_view::npos) {
    return Error({item, "when it shall happen, behind an @: lose-epc@3"});
  }
  if (const auto parsed = parse_value(value, item, i); !parsed) {
    return Error(parsed.error());
  }
  if (const auto parsed = parse_when(item.substr(at + 1), i); !parsed) {
    return Error(parsed.error());
  }
  return i;
}

std::uint64_t mixed(std::uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

bool InjectionPlan::is_due(const Injection& i, std::uint64_t number) const {
  switch (i.when) {
    case When::Nth:
      return number == i.n;
    case When::EveryNth:
      return number % i.n == 0;
    case When::Random:
      return mixed(mixed(seed ^ (static_cast<std::uint64_t>(i.text_begin) << 48)) ^ number) % i.n == 0;
    case When::After:
      return false;  // a timer's business
  }
  return false;
}

std::expected<InjectionPlan, PlanError> parse_injections(std::string_view text) {
  InjectionPlan plan;
  if (text.size() > plan.text.size()) {
    return Error({text.substr(0, 32), "at most 512 characters"});
  }
  text.copy(plan.text.data(), text.size());
  std::size_t begin = 0;
  for (;;) {
    const std::size_t end = text.find(',', begin);
    const std::string_view item = text.substr(begin, end == std::string_view::npos ? end : end - begin);
    auto parsed = parse_item(item);
    if (!parsed) {
      return Error(parsed.error());
    }
    if (plan.count == plan.items.size()) {
      return Error({item, "at most 16 events"});
    }
    parsed->text_begin = static_cast<std::uint16_t>(begin);
    parsed->text_size = static_cast<std::uint16_t>(item.size());
    plan.items[plan.count++] = *parsed;
    if (end == std::string_view::npos) {
      return plan;
    }
    begin = end + 1;
  }
}

}  // namespace enclume::engine
