// SPDX-License-Identifier: Apache-2.0
//
// The probe enclave's arithmetic outside of any enclave: the same bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace enclume::bench {

class NativeCopy {
 public:
  NativeCopy();
  ~NativeCopy();
  NativeCopy(const NativeCopy&) = delete;
  NativeCopy& operator=(const NativeCopy&) = delete;

  // What PROBE_OP_WORK computes.
  std::uint64_t work(std::uint64_t rounds, std::uint64_t seed) const;

 private:
  void* area_;
  std::size_t size_;
};

}  // namespace enclume::bench
