// SPDX-License-Identifier: Apache-2.0
// How much heap there is. malloc() and new take from it; see HEAP and HEAP_MAX of enclume_add_enclave().
#pragma once

#include <cstdint>

namespace enclume::enclave {

struct HeapSize {
  std::uint64_t bytes;  ///< That have pages, in use or not.
  std::uint64_t limit;  ///< Up to here it grows; the same as `bytes` where the platform has no dynamic memory
                        ///< and nothing more to give.
};
[[nodiscard]] HeapSize heap_size() noexcept;

}  // namespace enclume::enclave
