// SPDX-License-Identifier: Apache-2.0
// What `enclume run --inject` asks for: events that are hard to meet, and when they shall happen.
// docs/injecting.md has the syntax in words.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string_view>

#include "arch/fault.h"

namespace enclume::engine {

/// What is counted, so that "the third one" means something. By process; a forked child goes on counting.
enum class Opportunity : std::uint8_t {
  Entry,        ///< EENTER, before it is executed
  Einit,        ///< EINIT, as the kernel executes it
  Eaug,         ///< a page that the kernel is about to add
  Instruction,  ///< an instruction of enclave code that has been executed; by thread
  Eviction,     ///< a page that is about to leave the EPC
};
inline constexpr std::size_t kOpportunities = 5;

struct Injection {
  enum class Event : std::uint8_t {
    LoseEpc,      ///< of the whole machine
    EnterFault,   ///< `value` is a Vector: UD, GP, or PF at the TCS with the SGX bit
    EinitCode,    ///< `value` is what EINIT leaves in RAX
    EpcFull,      ///< no page for EAUG, and none to be had
    PageFault,    ///< the page at `value`, an offset in the enclave that is entered, leaves the page table
    BusError,     ///< and the kernel can't bring it back, once
    Interrupt,    ///< asynchronous exit
    BackingFull,  ///< no room for a page that shall leave the EPC
  };
  enum class When : std::uint8_t {
    Nth,  ///< at opportunity `n`, counted from 1
    EveryNth,
    Random,  ///< at each with a probability of 1 in `n`
    After,   ///< `n` nanoseconds after the program has started; LoseEpc only
  };
  Event event = Event::LoseEpc;
  When when = When::Nth;
  std::uint64_t value = 0;
  std::uint64_t n = 1;
  std::uint16_t text_begin = 0;  ///< in InjectionPlan::text
  std::uint16_t text_size = 0;
};

[[nodiscard]] constexpr Opportunity opportunity_of(Injection::Event event) {
  switch (event) {
    case Injection::Event::EinitCode:
      return Opportunity::Einit;
    case Injection::Event::EpcFull:
      return Opportunity::Eaug;
    case Injection::Event::Interrupt:
      return Opportunity::Instruction;
    case Injection::Event::BackingFull:
      return Opportunity::Eviction;
    default:
      return Opportunity::Entry;
  }
}

struct InjectionPlan {
  static constexpr std::size_t kMaxInjections = 16;
  static constexpr std::size_t kMaxText = 512;

  std::array<Injection, kMaxInjections> items{};
  std::size_t count = 0;
  std::uint64_t seed = 0;
  std::array<char, kMaxText> text{};  ///< as it was given

  [[nodiscard]] std::span<const Injection> all() const { return {items.data(), count}; }
  [[nodiscard]] std::string_view text_of(const Injection& i) const {
    return {text.data() + i.text_begin, i.text_size};
  }
  [[nodiscard]] bool has(Injection::Event event) const {
    for (const Injection& i : all()) {
      if (i.event == event) {
        return true;
      }
    }
    return false;
  }
  /// Whether `i` happens at this opportunity, the `number`-th, from 1. Depends on nothing but the plan.
  [[nodiscard]] bool is_due(const Injection& i, std::uint64_t number) const;
};

/// The words of the syntax, for messages.
inline constexpr std::array<std::string_view, 8> kInjectionEvents = {
    "lose-epc", "eenter", "einit", "eaug", "page-fault", "bus-error", "interrupt", "backing-full"};

/// What is wrong with a plan: the part of the text, and what would be right.
struct PlanError {
  std::string_view part;
  std::string_view remedy;
  bool is_event = false;  ///< `part` should be one of kInjectionEvents
};

/// "lose-epc@3,eenter=#PF@every:10". Signal context: safe (no allocation).
[[nodiscard]] std::expected<InjectionPlan, PlanError> parse_injections(std::string_view text);

}  // namespace enclume::engine
