// SPDX-License-Identifier: Apache-2.0
// The first use of a function's static variable. Who waits for another thread that is making it waits no
// longer than the enclave lives.
#include <atomic>
#include <cstdint>

#include "runtime/enclave/self.h"

namespace {
// Itanium C++ ABI, 3.3.3: the first byte says whether the variable is ready; the second is ours: being made.
std::atomic_ref<std::uint8_t> ready(std::uint64_t* guard) {
  return std::atomic_ref(reinterpret_cast<std::uint8_t*>(guard)[0]);
}
std::atomic_ref<std::uint8_t> busy(std::uint64_t* guard) {
  return std::atomic_ref(reinterpret_cast<std::uint8_t*>(guard)[1]);
}
}  // namespace

extern "C" {

int __cxa_guard_acquire(std::uint64_t* guard) {
  while (ready(guard).load(std::memory_order_acquire) == 0) {
    if (busy(guard).exchange(1, std::memory_order_acquire) == 0) {
      if (ready(guard).load(std::memory_order_acquire) == 0) return 1;
      busy(guard).store(0, std::memory_order_release);
      break;
    }
    enclume::enclave::wait_a_little();
  }
  return 0;
}

void __cxa_guard_release(std::uint64_t* guard) {
  ready(guard).store(1, std::memory_order_release);
  busy(guard).store(0, std::memory_order_release);
}

void __cxa_guard_abort(std::uint64_t* guard) {
  busy(guard).store(0, std::memory_order_release);
}
}
