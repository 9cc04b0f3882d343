// SPDX-License-Identifier: Apache-2.0
// A processor for src/runtime/enclave's sealing outside of any enclave, with switches for what cannot be had
// of a real one at will. Aborts where that would raise #GP.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/enclave/processor.h"

namespace enclume::test {

struct FakeProcessor {
  ReportBody self{};  ///< the enclave that it executes; `cpu_svn` is the processor's
  bool has_aes = true;
  bool has_random = true;
  bool all_is_inside = true;
  std::uint64_t random_state = 1;
};

/// The one that processor.h's functions are of.
extern FakeProcessor processor;

}  // namespace enclume::test
