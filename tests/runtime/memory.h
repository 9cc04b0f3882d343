// SPDX-License-Identifier: Apache-2.0
// An enclave that is small when it is loaded and grows where the platform lets it.
#pragma once

#include <cstdint>

#include "enclume/edge/interface.h"

namespace memory {

struct Size {
  std::uint64_t bytes, limit;
  bool operator==(const Size&) const = default;
};

// As the enclave is built; see CMakeLists.txt.
inline constexpr std::uint64_t kHeap = 64 << 10, kHeapMax = 64 << 20;
inline constexpr std::uint64_t kStack = 16 << 10, kStackMax = 1 << 20;

// In the enclave.
Size heap();
/// Allocates and fills `count` blocks of `bytes`, looks at all of them again, frees them. How many it has
/// got.
std::uint64_t fill(std::uint64_t count, std::uint64_t bytes);
/// Whether a block of so many bytes can be had, at this alignment; it is freed again.
bool can_have(std::uint64_t bytes, std::uint64_t alignment);
/// Recursion that takes about a KiB a level, looked at again on the way back; 1 if all was as it had been.
std::uint64_t recurse(std::uint64_t depth);
/// Touches the stack so many bytes below, at once.
std::uint64_t jump_down(std::uint64_t bytes);
/// Calls outside, where the host calls it again, with some KiB of stack a level.
std::uint64_t call_around(std::uint64_t depth);

// In the host.
std::uint64_t come_back(std::uint64_t depth);

}  // namespace memory

using Memory = enclume::Interface<enclume::Ecalls<memory::heap, memory::fill, memory::can_have,
                                                  memory::recurse, memory::jump_down, memory::call_around>,
                                  enclume::Ocalls<memory::come_back>>;
