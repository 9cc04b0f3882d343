// SPDX-License-Identifier: Apache-2.0
// Makes the events of an InjectionPlan happen. Costs a load where nothing is to be injected.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "base/types.h"
#include "engine/inject/plan.h"

namespace enclume::engine {

/// Signal context: safe, all but start().
class Injector {
 public:
  constexpr Injector() = default;

  /// Once, before the program runs; sets the timers for what shall happen at a time. A forked child has none.
  void start(const InjectionPlan& plan);
  [[nodiscard]] bool on() const { return plan_.count != 0; }
  /// Whether entries have to be counted; what happens at a time, or to EINIT and EAUG, does not need that.
  [[nodiscard]] bool counts_entries() const { return counts_entries_; }
  /// Whether each instruction of enclave code is an opportunity.
  [[nodiscard]] bool wants_instructions() const { return wants_instructions_; }

  /// The next touch of this page shall find that the kernel can't bring it back.
  void refuse_page(LinearAddress page) { refused_page_.store(page.value(), std::memory_order_relaxed); }
  /// Whether that is this one. Once.
  [[nodiscard]] bool takes_bus_error(LinearAddress address) {
    std::uint64_t page = address.page().value();
    return on() && page != 0 && refused_page_.compare_exchange_strong(page, 0);
  }

  /// Another opportunity. Calls f(const Injection&) for what is due, in the plan's order, and tells the
  /// trace.
  template <typename F>
  void at(Opportunity opportunity, F&& f) {
    if (on()) [[unlikely]] {
      at(opportunity,
         counts_[static_cast<std::size_t>(opportunity)].fetch_add(1, std::memory_order_relaxed) + 1, f);
    }
  }
  /// The same for what is counted elsewhere: the `number`-th, from 1.
  template <typename F>
  void at(Opportunity opportunity, std::uint64_t number, F&& f) {
    for (const Injection& i : plan_.all()) {
      if (opportunity_of(i.event) == opportunity && plan_.is_due(i, number)) {
        tell(i, number);
        f(i);
      }
    }
  }

 private:
  void tell(const Injection& i, std::uint64_t number) const;

  InjectionPlan plan_;
  bool wants_instructions_ = false;
  bool counts_entries_ = false;
  std::array<std::atomic<std::uint64_t>, kOpportunities> counts_{};
  std::atomic<std::uint64_t> refused_page_{0};
};

}  // namespace enclume::engine
