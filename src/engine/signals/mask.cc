// SPDX-License-Identifier: Apache-2.0
#include "engine/signals/mask.h"

#include "base/syscall.h"
#include "engine/signals/held.h"

namespace enclume::engine {

SignalSet kernel_mask() {
  SignalSet set = 0;
  sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, 0, sys::arg(&set), sizeof(set));
  return set;
}

void set_kernel_mask(SignalSet set) {
  sys::raw(__NR_rt_sigprocmask, SIG_SETMASK, sys::arg(&set), 0, sizeof(set));
}

SignalsBlocked::SignalsBlocked() : old_(0) {
  const SignalSet all = kBlockable;
  sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&all), sys::arg(&old_), sizeof(all));
}

SignalsBlocked::~SignalsBlocked() {
  set_kernel_mask(old_);
  if (!is_front_door_mask(old_)) {
    release_for_front_door();
  }
}

AllBlocked::AllBlocked() : old_(0) {
  const SignalSet all = ~SignalSet{0};
  sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&all), sys::arg(&old_), sizeof(all));
}

AllBlocked::~AllBlocked() {
  set_kernel_mask(old_);
}

}  // namespace enclume::engine
