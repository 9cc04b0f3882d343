// SPDX-License-Identifier: Apache-2.0
// Signal calls as the front doors hand them on, whichever way they came in.
#pragma once

#include <csignal>
#include <cstring>

#include "base/errno.h"
#include "engine/calls/signals.h"
#include "engine/signals/frame.h"

namespace enclume::engine {

inline SignalSet to_set(const sigset_t& set) {
  SignalSet out;
  std::memcpy(&out, &set, sizeof(out));
  return out;
}

/// glibc's sigset_t is 128 bytes; the kernel's part is the first eight.
inline void from_set(SignalSet set, sigset_t& out) {
  sigemptyset(&out);
  std::memcpy(&out, &set, sizeof(set));
}

/// rt_sigprocmask(2), sigaltstack(2) with the program's view. Pointers may be null where the system calls
/// allow it.
SysResult<void> front_sigprocmask(int how, const SignalSet* set, SignalSet* previous);
SysResult<void> front_sigaltstack(const AltStack* next, AltStack* previous);

/// Whether the caller runs on its alternate stack, as the program understands it.
bool on_alternate_stack();

}  // namespace enclume::engine
