// SPDX-License-Identifier: Apache-2.0
#include "engine/exec_program.h"

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/signals/held.h"
#include "engine/signals/mask.h"
#include "engine/threads/thread_block.h"

namespace enclume::engine {

namespace {

constinit ExecSetup setup{
    .preload = nullptr, .settings = nullptr, .engine = {}, .loader = nullptr, .copy = &enclume_guarded_copy};

}  // namespace

ExecSetup& exec_setup() {
  return setup;
}

ExecState::ExecState() {
  if (!engine().active) {
    return;
  }
  Engine& e = engine();
  e.sync_after_fork();
  ThreadBlock* block = e.this_thread();
  if (block != nullptr && !(e.in_vfork_child() && block->vfork_child == sys::gettid())) {
    owned_ = unpack_owned(block->virtual_mask);
  }
  ignored_ = e.actions.prepare_exec();
  if (owned_ != 0) {
    sys::raw(__NR_rt_sigprocmask, SIG_BLOCK, sys::arg(&owned_), 0, sizeof(owned_));
    if (!e.in_vfork_child()) {
      hand_held_to_kernel(block);
    }
  }
}

ExecState::~ExecState() {
  if (!engine().active) {
    return;
  }
  engine().actions.undo_exec(ignored_);
  if (owned_ != 0) {
    sys::raw(__NR_rt_sigprocmask, SIG_UNBLOCK, sys::arg(&owned_), 0, sizeof(owned_));
  }
}

namespace {

/// The state is the kernel's for the system call alone: what goes before needs the engine's handlers.
long execute(void* data, const ExecCall& call) {
  static_cast<void>(data);
  const ExecState state;
  return execute_plainly(call);
}

}  // namespace

long exec_program(const ExecCall& call) {
  return plan_exec(setup, call, &execute, nullptr);
}

}  // namespace enclume::engine
