// SPDX-License-Identifier: Apache-2.0
#include "engine/pages/enclave_keys.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <span>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"

namespace enclume::engine {

namespace {

constinit bool first_taken = false;

/// Those besides the first.
constinit std::array<int, kMostEnclaveKeys - 1> further{};
constinit unsigned further_count = 0;

/// Host code meets them closed, like any key that it has not opened, and at each exit anew.
void close_keys(Pkru closed) {
  std::atomic_ref(enclume_epc_fence).fetch_or(closed);
  write_pkru(outside_fence(read_pkru(), closed));
}

bool take_another() {
  if (further_count == further.size() || take_last_keys(&further[further_count], 1) == 0) {
    return false;
  }
  close_keys(fence_of(further[further_count]));
  ++further_count;
  return true;
}

}  // namespace

void take_first_keys() {
  Features& features = engine().features;
  if (!features.pkeys || first_taken) {
    return;
  }
  first_taken = true;
  std::array<int, 2> keys{-1, -1};
  take_last_keys(keys.data(), keys.size());
  close_keys(fence_of(keys[0]) | fence_of(keys[1]));
  features.epc_pkey = keys[0];
  features.execute_only_pkey = keys[1];
}

unsigned take_last_keys(int* keys, unsigned wanted) {
  const Pkru before = read_pkru();
  std::array<int, std::size_t{kPkeys}> free{};
  unsigned count = 0;
  while (count < free.size()) {
    const auto key = sys::call(__NR_pkey_alloc, 0, PKEY_DISABLE_ACCESS);
    if (!key) {
      break;
    }
    free[count++] = static_cast<int>(*key);
  }
  const unsigned taken = std::min(count, wanted);
  for (unsigned i = 0; i < taken; ++i) {
    keys[i] = free[count - 1 - i];
  }
  for (unsigned i = 0; i < count - taken; ++i) {
    sys::raw(__NR_pkey_free, free[i]);
  }
  write_pkru(before);
  return taken;
}

int choose_key(kernel::Enclave& enclave, const kernel::EnclaveTable& enclaves) {
  const int first = engine().features.epc_pkey;
  if (first < 0) {
    return -1;
  }
  if (const int chosen = enclave.pkey.load(std::memory_order_relaxed); chosen != 0) {
    return chosen;
  }
  std::array<unsigned, std::size_t{kPkeys}> users{};
  const auto users_of = [&](int key) -> unsigned& { return users[static_cast<std::size_t>(key)]; };
  enclaves.for_each([&](const kernel::Enclave& other) {  //
    ++users_of(other.pkey.load(std::memory_order_relaxed));
  });
  const auto least_used = [&] {
    int best = first;
    for (const int key : std::span(further).first(further_count)) {
      best = users_of(key) < users_of(best) ? key : best;
    }
    return best;
  };
  int key = least_used();
  if (users_of(key) != 0 && take_another()) {
    key = least_used();
  }
  enclave.pkey.store(static_cast<std::int8_t>(key), std::memory_order_relaxed);
  return key;
}

}  // namespace enclume::engine
