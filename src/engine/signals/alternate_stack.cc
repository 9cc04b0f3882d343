// SPDX-License-Identifier: Apache-2.0
#include "engine/signals/alternate_stack.h"

#include "engine/threads/thread_block.h"

namespace enclume::engine {

SysResult<void> change_alternate_stack(ThreadBlock& block, const AltStack* next, AltStack* previous,
                                       std::uint64_t sp) {
  AltStack& current = block.program_stack;
  const bool on = (current.flags & SS_DISABLE) == 0 && sp > current.sp && sp - current.sp <= current.size;
  const AltStack before = current;
  if (next != nullptr) {
    constexpr int kDisarms = static_cast<int>(kAutodisarm);
    const int mode = next->flags & ~kDisarms;
    if (on && (current.flags & kDisarms) == 0) {
      return fail(Errno::Perm);
    }
    if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0) {
      return fail(Errno::Invalid);
    }
    if (mode == SS_DISABLE) {
      current = AltStack{};
    } else if (next->size < 2048) {
      return fail(Errno::NoMemory);
    } else {
      current = *next;
      current.flags &= ~SS_ONSTACK;
    }
  }
  if (previous != nullptr) {
    *previous = before;
    if (on) {
      previous->flags |= SS_ONSTACK;
    }
  }
  return {};
}

}  // namespace enclume::engine
