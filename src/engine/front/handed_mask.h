// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/signals/frame.h"
#include "engine/signals/mask.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

/// The owned signals that the calling thread's program has blocked; none before the engine is up, and none in
/// a child between vfork and exec, where the kernel has the whole mask.
SignalSet virtual_mask_of_thread();

/// The kernel has the whole of the program's mask for a scope in which libc hands the kernel's on, to a
/// thread or to a program. A handler that runs meanwhile has them unblocked again, until it returns.
class HandedMask {
 public:
  explicit HandedMask(SignalSet owned) : owned_(owned) { change(SIG_BLOCK, owned_); }
  ~HandedMask() { change(SIG_UNBLOCK, 0); }
  HandedMask(const HandedMask&) = delete;
  HandedMask& operator=(const HandedMask&) = delete;

 private:
  void change(int how, SignalSet handed) const {
    if (owned_ == 0) {
      return;
    }
    // Noted before it is done, and forgotten before it is undone: a handler's return brings about what is
    // noted.
    if (ThreadBlock* block = engine().this_thread(); block != nullptr) {
      block->handed_mask = pack_owned(handed);
    }
    sys::raw(__NR_rt_sigprocmask, how, sys::arg(&owned_), 0, sizeof(owned_));
  }

  const SignalSet owned_;
};

}  // namespace enclume::engine
