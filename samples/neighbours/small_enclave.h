// SPDX-License-Identifier: Apache-2.0
//
// The enclave of enclave.S, built, and which of its TCS are free: what the two libraries without a runtime
// share.
#pragma once

#include <atomic>
#include <cstdint>

#include "common/enclave.h"
#include "neighbours/layout.h"

namespace neighbours {

class SmallEnclave {
 public:
  SmallEnclave();
  [[nodiscard]] bool contains(std::uint64_t address) const {
    return address - enclave_.base() < ENCLAVE_SIZE;
  }

  /// The address of a TCS that nobody else has. Throws std::runtime_error if there is none.
  [[nodiscard]] std::uint64_t take();
  void give_back(std::uint64_t tcs);

 private:
  samples::Enclave enclave_;
  std::atomic<std::uint32_t> free_ = (1U << ENCLAVE_THREADS) - 1;
};

/// Has a TCS while it lives.
class Lease {
 public:
  explicit Lease(SmallEnclave& enclave) : enclave_(enclave), tcs_(enclave.take()) {}
  ~Lease() { enclave_.give_back(tcs_); }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  [[nodiscard]] std::uint64_t tcs() const { return tcs_; }

 private:
  SmallEnclave& enclave_;
  std::uint64_t tcs_;
};

}  // namespace neighbours
