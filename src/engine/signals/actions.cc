// SPDX-License-Identifier: Apache-2.0
#include "engine/signals/actions.h"

#include "base/syscall.h"
#include "engine/entry/entry.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

namespace {

// Flags whose meaning the kernel keeps; the rest the engine plays itself.
constexpr std::uint64_t kKernelFlags = SA_NOCLDSTOP | SA_NOCLDWAIT | SA_RESTART | SA_NODEFER;

Action engine_action(std::uint64_t flags, SignalSet mask) {
  return {reinterpret_cast<std::uint64_t>(&enclume_signal_entry),
          flags | SA_SIGINFO | SA_ONSTACK | kSaRestorer, reinterpret_cast<std::uint64_t>(&enclume_restorer),
          mask & ~kOwnedSet};
}

bool is_engines(const Action& action) {
  return action.handler == reinterpret_cast<std::uint64_t>(&enclume_signal_entry);
}

long kernel_sigaction(int signo, const Action* next, Action* previous) {
  return sys::raw(__NR_rt_sigaction, signo, sys::arg(next), sys::arg(previous), sizeof(SignalSet));
}

}  // namespace

void set_kernel_default(int signo) {
  const Action action{};
  kernel_sigaction(signo, &action, nullptr);
}

long ActionTable::tell_kernel(int signo, const Action& program) {
  if (is_owned(signo)) {
    // Without a handler of the program nothing of it may be interrupted for good.
    const std::uint64_t restart =
        program.is_handler() ? program.flags & SA_RESTART : std::uint64_t{SA_RESTART};
    const Action ours = engine_action(restart | SA_NODEFER, 0);
    return kernel_sigaction(signo, &ours, nullptr);
  }
  if (!program.is_handler()) {
    Action plain = program;
    plain.flags &= kKernelFlags;
    return kernel_sigaction(signo, &plain, nullptr);
  }
  const Action ours = engine_action(program.flags & kKernelFlags, program.mask);
  return kernel_sigaction(signo, &ours, nullptr);
}

void ActionTable::init() {
  const Action ours = engine_action(SA_RESTART | SA_NODEFER, 0);
  for (const int signo : kOwnedSignals) {
    Action found{};
    kernel_sigaction(signo, &ours, &found);
    write(signo, found);
    if (found.is_handler()) {
      tell_kernel(signo, found);
    }
  }
}

void ActionTable::write(int signo, const Action& action) {
  Slot& slot = slots_[static_cast<std::size_t>(signo)];
  const std::uint32_t version = slot.version.load(std::memory_order_relaxed);
  slot.version.store(version + 1, std::memory_order_relaxed);
  // Release with acquire in get(): who reads a new field sees that the version is odd, or newer. (Fences
  // would say the same, but the thread sanitizer does not know them.)
  slot.handler.store(action.handler, std::memory_order_release);
  slot.flags.store(action.flags, std::memory_order_release);
  slot.restorer.store(action.restorer, std::memory_order_release);
  slot.mask.store(action.mask, std::memory_order_release);
  slot.version.store(version + 2, std::memory_order_release);
}

bool ActionTable::is_known(int signo) const {
  return slots_[static_cast<std::size_t>(signo)].version.load(std::memory_order_acquire) != 0;
}

Action ActionTable::get(int signo) const {
  const Slot& slot = slots_[static_cast<std::size_t>(signo)];
  for (;;) {
    // A writer has its signals blocked, so it is another thread and gets on.
    const std::uint32_t version = slot.version.load(std::memory_order_acquire);
    if (version == 0) {
      Action found{};
      kernel_sigaction(signo, nullptr, &found);
      return found;
    }
    const Action action{
        slot.handler.load(std::memory_order_acquire), slot.flags.load(std::memory_order_acquire),
        slot.restorer.load(std::memory_order_acquire), slot.mask.load(std::memory_order_acquire)};
    if ((version & 1) == 0 && slot.version.load(std::memory_order_relaxed) == version) {
      return action;
    }
    __builtin_ia32_pause();
  }
}

SysResult<void> ActionTable::change(int signo, const Action* next, Action* previous) {
  if (signo < 1 || signo > 64 || (next != nullptr && (signo == SIGKILL || signo == SIGSTOP))) {
    return fail(Errno::Invalid);
  }
  const AllBlocked blocked;
  const OwnerLockGuard guard(lock_, sys::gettid());
  const Action before = get(signo);
  if (next != nullptr) {
    // The table first: between the two a signal finds the new handler behind the old disposition, or the
    // default behind the engine's handler, which the engine plays.
    Action wanted = *next;
    wanted.mask &= ~(signal_bit(SIGKILL) | signal_bit(SIGSTOP));
    write(signo, wanted);
    if (const long r = tell_kernel(signo, wanted); r < 0) {
      write(signo, before);
      return fail(static_cast<Errno>(-r));
    }
  }
  if (previous != nullptr) {
    *previous = before;
  }
  return {};
}

void ActionTable::reset_in_child() {
  lock_.reset_in_child();
  for (Slot& slot : slots_) {
    if (const std::uint32_t version = slot.version.load(std::memory_order_relaxed); (version & 1) != 0) {
      slot.version.store(version + 1, std::memory_order_release);
    }
  }
}

Action ActionTable::take(int signo) {
  const Action action = get(signo);
  if (action.is_handler() && (action.flags & SA_RESETHAND) != 0) {
    const AllBlocked blocked;
    const OwnerLockGuard guard(lock_, sys::gettid());
    Action reset = get(signo);
    if (reset.handler == action.handler) {
      reset.handler = 0;
      write(signo, reset);
      tell_kernel(signo, reset);
    }
  }
  return action;
}

void ActionTable::clear_handlers() {
  for (int signo = 1; signo <= 64; ++signo) {
    if (get(signo).is_handler()) {
      const Action none{};
      (void)change(signo, &none, nullptr);
    }
  }
}

void ActionTable::adopt(int signo) {
  if (is_known(signo) && get(signo).is_handler()) {
    return;
  }
  const AllBlocked blocked;
  const OwnerLockGuard guard(lock_, sys::gettid());
  Action found;
  if (kernel_sigaction(signo, nullptr, &found) == 0 && found.is_handler() && !is_engines(found)) {
    write(signo, found);
    tell_kernel(signo, found);
  }
}

SysResult<void> ActionTable::change_in_vfork_child(int signo, const Action* next, Action* previous) const {
  Action wanted;
  if (next != nullptr) {
    wanted = *next;
    wanted.flags |= kSaRestorer;
    wanted.restorer = reinterpret_cast<std::uint64_t>(&enclume_restorer);
  }
  Action before;
  if (const long r = kernel_sigaction(signo, next != nullptr ? &wanted : nullptr, &before); r < 0) {
    return fail(static_cast<Errno>(-r));
  }
  if (previous != nullptr) {
    *previous = is_engines(before) ? get(signo) : before;
  }
  return {};
}

std::uint8_t ActionTable::prepare_exec() const {
  std::uint8_t changed = 0;
  for (const int signo : kOwnedSignals) {
    Action found;
    if (get(signo).is_ignored() && kernel_sigaction(signo, nullptr, &found) == 0 && is_engines(found)) {
      const Action ignore{1, 0, 0, 0};
      kernel_sigaction(signo, &ignore, nullptr);
      changed = static_cast<std::uint8_t>(changed | pack_owned(signal_bit(signo)));
    }
  }
  return changed;
}

void ActionTable::undo_exec(std::uint8_t changed) const {
  for (const int signo : kOwnedSignals) {
    if ((changed & pack_owned(signal_bit(signo))) != 0) {
      tell_kernel(signo, get(signo));
    }
  }
}

}  // namespace enclume::engine
