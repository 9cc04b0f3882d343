// SPDX-License-Identifier: Apache-2.0
// What the host and the enclave of this sample call of each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "enclume/edge/interface.h"

namespace lazy_heap {

struct HeapUse {
  std::uint64_t kib, limit_kib;
};

// In the enclave.
HeapUse heap_use();
/// Keeps a copy; false if there is no room for it.
bool keep(std::span<const std::byte> value);
/// How many of the values that it keeps begin with this one's bytes.
std::uint64_t count_equal(std::span<const std::byte> value);
void forget_all();
/// The sum of 1 to `depth`, by a recursion of that depth.
std::uint64_t sum_recursively(std::uint64_t depth);

}  // namespace lazy_heap

using LazyHeap =
    enclume::Interface<enclume::Ecalls<lazy_heap::heap_use, lazy_heap::keep, lazy_heap::count_equal,
                                       lazy_heap::forget_all, lazy_heap::sum_recursively>>;
