// SPDX-License-Identifier: Apache-2.0
// The host's functions of the test interface, and the enclaves to load.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <string>

#include "enclume/host/enclave.h"
#include "runtime/calls.h"

namespace calls {

/// What hear() has heard last, on this thread.
inline thread_local std::string heard;

/// What hear() does besides, on this thread.
inline thread_local std::function<void()> waiting;

/// Ends an unhandled fault's call only, three threads, 1 MiB of heap.
inline enclume::Enclave<Calls> load(const enclume::LoadOptions& options = {},
                                    const char* image = ENCLUME_TEST_IMAGE) {
  auto enclave = enclume::Enclave<Calls>::load(image, options);
  if (!enclave) {
    ADD_FAILURE() << describe(enclave.error().code) << " (" << enclave.error().system << ")";
    std::exit(1);
  }
  return *enclave;
}

}  // namespace calls
