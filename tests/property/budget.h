// SPDX-License-Identifier: Apache-2.0
// How long a property test looks for trouble, and where it begins.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>

namespace enclume::property {

/// ENCLUME_PROPERTY_SEED: the first seed, 1 unless set. A run with the same seed makes the same sequences.
inline std::uint64_t first_seed() {
  const char* text = std::getenv("ENCLUME_PROPERTY_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 0) : 1;
}

/// Time for a test to go on in, beyond what it does anyway: ENCLUME_PROPERTY_SECONDS, or `normal` seconds.
class Budget {
 public:
  explicit Budget(double normal) {
    const char* text = std::getenv("ENCLUME_PROPERTY_SECONDS");
    set(text != nullptr ? std::strtod(text, nullptr) : normal);
  }
  /// So many seconds, whatever the environment says.
  static Budget of(double seconds) {
    Budget budget(0);
    budget.set(seconds);
    return budget;
  }
  [[nodiscard]] bool left() const { return Clock::now() < end_; }

 private:
  using Clock = std::chrono::steady_clock;
  void set(double seconds) {
    end_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  }

  Clock::time_point end_;
};

}  // namespace enclume::property
