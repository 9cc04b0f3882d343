// SPDX-License-Identifier: Apache-2.0
// Protection keys as the program sees them: without those that the EPC needs.
#pragma once

#include "base/errno.h"

namespace enclume::engine {

/// Whether it is one of the EPC's, which the program has not allocated, whatever the kernel believes.
bool is_epc_pkey(int key);

/// Whether the program may give a page this key. -1 is none, as in mprotect. Error: Invalid.
SysResult<void> may_use_pkey(int key);

/// The system call of this name.
SysResult<long> front_pkey_free(int key);

}  // namespace enclume::engine
