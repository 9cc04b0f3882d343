// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/signals.h"

#include "engine/engine.h"
#include "engine/signals/held.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

SysResult<void> front_sigaction(int signo, const Action* next, Action* previous) {
  Engine& e = engine();
  e.sync_after_fork();
  if (e.in_vfork_child()) {
    return e.actions.change_in_vfork_child(signo, next, previous);
  }
  const auto r = e.actions.change(signo, next, previous);
  if (r && next != nullptr && next->is_ignored() && is_owned(signo)) {
    drop_held(signo);
  }
  return r;
}

}  // namespace enclume::engine
