// SPDX-License-Identifier: Apache-2.0
// Calls that wait for signals, or wait with a signal mask of their own, whichever way they came in.
#pragma once

#include <csignal>
#include <ctime>
#include <optional>

#include "base/errno.h"
#include "engine/signals/frame.h"

namespace enclume::engine {

/// rt_sigpending(2).
SysResult<SignalSet> front_sigpending();

/// rt_sigtimedwait(2); `timeout` may be null.
SysResult<long> front_sigtimedwait(const SignalSet& wanted, siginfo_t* info, const timespec* timeout);

/// rt_sigsuspend(2), ppoll(2), pselect6(2), epoll_pwait(2), epoll_pwait2(2) with a mask in which owned
/// signals matter, as system calls with their arguments. None for any other call: it is the kernel's alone.
std::optional<SysResult<long>> front_wait(long number, const long (&arguments)[6]);

}  // namespace enclume::engine
