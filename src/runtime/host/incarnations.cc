// SPDX-License-Identifier: Apache-2.0
#include "runtime/host/incarnations.h"

#include <algorithm>
#include <utility>

namespace enclume::host {

void Incarnations::renew(std::uint32_t index) noexcept {
  std::vector<Retired> gone;  // unmapped when nobody is kept waiting for it
  {
    const std::lock_guard lock(mutex_);
    slots_[index] = {current_->number, current_.get()};
    for (auto& retired : retired_) retired.is_used_by[index] = false;
    const auto is_gone = [](const Retired& r) {
      return std::find(r.is_used_by.begin(), r.is_used_by.end(), true) == r.is_used_by.end();
    };
    const auto first = std::stable_partition(retired_.begin(), retired_.end(),
                                             [&](const Retired& r) { return !is_gone(r); });
    std::move(first, retired_.end(), std::back_inserter(gone));
    retired_.erase(first, retired_.end());
  }
}

void Incarnations::spend(std::uint32_t index, const Incarnation& incarnation) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (current_.get() == &incarnation) {
      spent_.push_back(index);
      pool_.lose();
      return;
    }
  }
  done_by(index);
  pool_.give_back(index);
}

Incarnation& Incarnations::current() noexcept {
  const std::lock_guard lock(mutex_);
  return *current_;
}

void Incarnations::publish(std::unique_ptr<Incarnation> incarnation) {
  std::vector<std::uint32_t> again;
  Retired old;
  {
    const std::lock_guard lock(mutex_);
    old.incarnation = std::exchange(current_, std::move(incarnation));
    again = std::exchange(spent_, {});
    // An index that is free after this store is taken by somebody who sees it.
    number_.store(current_->number);
    if (old.incarnation != nullptr) {
      bool is_used = false;
      for (std::uint32_t index = 0; index < slots_.size(); ++index) {
        const bool is_spent = std::find(again.begin(), again.end(), index) != again.end();
        old.is_used_by.push_back(!is_spent && !pool_.is_free(index));
        is_used = is_used || old.is_used_by.back();
      }
      if (is_used) retired_.push_back(std::move(old));
    }
  }
  for (const std::uint32_t index : again) pool_.give_back_lost(index);
}

}  // namespace enclume::host
