// SPDX-License-Identifier: Apache-2.0
// The protection keys of the EPC: the first few enclaves of a process have one each, so that to each the
// others' pages are closed as they are to host code. Those that come later share them.
#pragma once

#include "engine/signals/pkru.h"
#include "kernel/enclave.h"
#include "kernel/enclave_table.h"

namespace enclume::engine {

/// How many at most, if the program leaves so many free.
inline constexpr unsigned kMostEnclaveKeys = 4;

/// Takes the first two, before the first enclave: what most processes have none of, and what asks the kernel
/// thirty times. The caller has signals blocked and holds the table of enclaves (EnclaveTable::Kept). Signal
/// context: safe.
void take_first_keys();

/// The key of the enclave's pages, chosen when first asked for; -1 where the EPC has none. One thread at a
/// time. Signal context: safe.
[[nodiscard]] int choose_key(kernel::Enclave& enclave, const kernel::EnclaveTable& enclaves);

/// The enclave's part of the fence around the EPC; 0 without keys. Signal context: safe.
[[nodiscard]] inline Pkru own_fence(const kernel::Enclave& enclave) {
  return fence_of(enclave.pkey.load(std::memory_order_relaxed));
}

/// Takes the last keys that are free, up to `wanted`, highest first: the program is given the numbers that it
/// would get without us. Returns how many; the thread's rights to all keys are as before. Signal context:
/// safe.
unsigned take_last_keys(int* keys, unsigned wanted);

}  // namespace enclume::engine
