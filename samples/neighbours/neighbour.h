// SPDX-License-Identifier: Apache-2.0
//
// A library with an enclave of its own, as the rest of the process sees it. There are three kinds, which know
// nothing of each other: by a raw ENCLU and signals, by the bare vDSO function, by Enclume's runtime.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "neighbours/layout.h"

namespace neighbours {

/// What goes wrong in the enclave during a visit.
enum class Trouble : std::uint8_t {
  kNone = FAULT_NONE,
  kDivide = FAULT_DIVIDE,
  kIllegal = FAULT_ILLEGAL,
  kRead = FAULT_READ,
};
inline constexpr std::size_t kTroubles = 4;
/// The vector of the exception.
constexpr std::uint8_t vector_of(Trouble trouble) {
  constexpr std::array<std::uint8_t, kTroubles> kVectors{NO_VECTOR, 0, 6, 14};
  return kVectors[static_cast<std::size_t>(trouble)];
}

/// The OCALL: may enter any enclave, and throw.
using Outside = std::function<std::uint64_t(std::uint64_t)>;

class Neighbour {
 public:
  virtual ~Neighbour() = default;
  [[nodiscard]] virtual const char* name() const = 0;
  /// Enters; `trouble` happens in there and is seen to; `outside(value)` is called; its answer + value.
  /// Each visit has a TCS of its own, and there are ENCLAVE_THREADS. Throws what `outside` throws.
  virtual std::uint64_t visit(Trouble trouble, std::uint64_t value, const Outside& outside) = 0;

  /// Exceptions that have come to this library and were its own, by what they were.
  [[nodiscard]] std::uint64_t seen(Trouble trouble) const { return seen_[static_cast<std::size_t>(trouble)]; }
  /// Those that have come to it and were not, or not what they should have been.
  [[nodiscard]] std::uint64_t strangers() const { return strangers_; }

 protected:
  void count(Trouble expected, std::uint64_t vector, bool is_own) {
    if (is_own && expected != Trouble::kNone && vector == vector_of(expected)) {
      ++seen_[static_cast<std::size_t>(expected)];
    } else {
      ++strangers_;
    }
  }

 private:
  std::array<std::atomic<std::uint64_t>, kTroubles> seen_{};
  std::atomic<std::uint64_t> strangers_ = 0;
};

std::unique_ptr<Neighbour> make_raw();
std::unique_ptr<Neighbour> make_bare();
/// `image`: own.enclave.
std::unique_ptr<Neighbour> make_own(const char* image);

/// Enters by every TCS at once, so that each must be free. Whether that went well.
bool every_tcs_is_free(Neighbour& neighbour);

}  // namespace neighbours
