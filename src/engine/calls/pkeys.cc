// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/pkeys.h"

#include <sys/mman.h>

#include "base/syscall.h"
#include "base/types.h"
#include "engine/entry/entry.h"
#include "engine/signals/pkru.h"

namespace enclume::engine {

bool is_epc_pkey(int key) {
  return key > 0 && key < kPkeys && (enclume_epc_fence & fence_of(key)) != 0;
}

SysResult<void> may_use_pkey(int key) {
  if (key < 0) {
    return {};
  }
  if (is_epc_pkey(key)) {
    return fail(Errno::Invalid);
  }
  // The kernel looks at the key before it looks for mappings (do_mprotect_pkey()), of which there are none in
  // its own half of the address space.
  constexpr std::uint64_t kNothing = 0 - 2 * kPageSize;
  const auto r = sys::call(__NR_pkey_mprotect, kNothing, kPageSize, PROT_NONE, key);
  if (!r && r.error() == Errno::Invalid) {
    return fail(Errno::Invalid);
  }
  return {};
}

SysResult<long> front_pkey_free(int key) {
  if (is_epc_pkey(key)) {
    return fail(Errno::Invalid);
  }
  return sys::call(__NR_pkey_free, key);
}

}  // namespace enclume::engine
