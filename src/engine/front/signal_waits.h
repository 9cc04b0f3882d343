// SPDX-License-Identifier: Apache-2.0
// Calls that wait for signals, or wait with a signal mask of their own, whichever way they came in.
#pragma once

#include <csignal>
#include <ctime>

#include "base/errno.h"
#include "engine/signals/frame.h"

namespace enclume::engine {

/// rt_sigpending(2).
SysResult<SignalSet> front_sigpending();

/// rt_sigtimedwait(2); `timeout` may be null.
SysResult<long> front_sigtimedwait(const SignalSet& wanted, siginfo_t* info, const timespec* timeout);

}  // namespace enclume::engine
