// SPDX-License-Identifier: Apache-2.0
// Dispositions as the front doors hand them on, whichever way they came in.
#pragma once

#include "base/errno.h"
#include "engine/signals/actions.h"

namespace enclume::engine {

/// sigaction(2) with the program's view: `next` and `previous` may be null. Signal context: safe.
SysResult<void> front_sigaction(int signo, const Action* next, Action* previous);

}  // namespace enclume::engine
