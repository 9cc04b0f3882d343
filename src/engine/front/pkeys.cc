// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/pkeys.h"

#include "engine/front/real.h"

ENCLUME_EXPORT int pkey_free(int key) noexcept {
  return static_cast<int>(enclume::engine::libc_result(enclume::engine::front_pkey_free(key)));
}
