// SPDX-License-Identifier: Apache-2.0
// File calls as the front doors hand them on, whichever way they came in.
#pragma once

#include "base/errno.h"

namespace enclume::engine {

/// openat(2) and close(2), with the SGX devices there.
SysResult<long> front_open(int dirfd, const char* path, int flags, unsigned mode);
SysResult<long> front_close(int fd);

}  // namespace enclume::engine
