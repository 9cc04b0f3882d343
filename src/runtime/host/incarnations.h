// SPDX-License-Identifier: Apache-2.0
// The enclave of a Core, which can be lost and built again. Each build is an incarnation; calls under way
// keep theirs until they end, and all others use the current one. Who takes part is known by the TCS pool, so
// a call costs nothing more for it than a comparison.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "runtime/host/events.h"
#include "runtime/host/loader.h"
#include "runtime/host/tcs_pool.h"

namespace enclume::host {

/// An enclave as it was built once.
struct Incarnation {
  Incarnation(LoadedEnclave loaded, std::uint32_t threads, std::uint32_t which)
      : enclave(std::move(loaded)), events(threads), number(which) {}

  /// The EPC is gone: who sleeps for one of its threads needs not wait any longer.
  void lose() noexcept {
    if (is_lost.exchange(true)) return;
    LoadedEnclave::forget_processor();
    events.wake_all();
  }

  LoadedEnclave enclave;
  Events events;
  const std::uint32_t number;
  std::atomic<bool> is_lost = false;
};

class Incarnations {
 public:
  /// `pool`: whose indices calls hold.
  Incarnations(TcsPool& pool, std::uint32_t threads) : pool_(pool), slots_(threads) {}

  /// The one to enter by TCS `index`, which the caller has taken from the pool.
  [[nodiscard]] Incarnation& by(std::uint32_t index) noexcept {
    Slot& slot = slots_[index];
    if (slot.number != number_.load()) renew(index);
    return *slot.incarnation;
  }
  /// Before the index goes back to the pool.
  void done_by(std::uint32_t index) noexcept {
    if (slots_[index].number != number_.load()) renew(index);
  }
  /// The TCS can't be entered any more, so its index stays out of the pool until there is a new enclave.
  void spend(std::uint32_t index, const Incarnation& incarnation) noexcept;

  /// For somebody who holds an index, and uses it longer than until the next publish().
  [[nodiscard]] Incarnation& current() noexcept;
  /// Makes it the current one. The one before goes when the last call in it has ended.
  void publish(std::unique_ptr<Incarnation> incarnation);
  [[nodiscard]] std::uint32_t next_number() const noexcept { return number_.load() + 1; }
  [[nodiscard]] bool is_superseded(const Incarnation& incarnation) const noexcept {
    return incarnation.number < number_.load();
  }

 private:
  struct Slot {  // the index's owner's
    std::uint32_t number = 0;
    Incarnation* incarnation = nullptr;
  };
  struct Retired {
    std::unique_ptr<Incarnation> incarnation;
    std::vector<bool> is_used_by;  // index
  };
  void renew(std::uint32_t index) noexcept;

  TcsPool& pool_;
  std::vector<Slot> slots_;
  std::atomic<std::uint32_t> number_ = 0;
  std::mutex mutex_;  // for what follows
  std::unique_ptr<Incarnation> current_;
  std::vector<Retired> retired_;
  std::vector<std::uint32_t> spent_;
};

}  // namespace enclume::host
