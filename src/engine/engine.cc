// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <sys/mman.h>

#include "base/syscall.h"
#include "engine/entry/entry.h"
#include "engine/fast/doors.h"
#include "engine/fast/entry.h"
#include "engine/fast/thread_descriptor.h"
#include "engine/sgx.h"
#include "engine/shared_machine.h"
#include "engine/signals/delivery.h"
#include "engine/signals/mask.h"
#include "engine/start/host_code.h"
#include "engine/trace/symbols.h"

extern "C" {
std::uint8_t enclume_host_selector = SELECTOR_ALLOW;
constinit std::atomic<std::atomic<std::uint32_t>*> enclume_process_known{nullptr};
}

namespace enclume::engine {

namespace {

constinit Engine the_engine;

constexpr int kPrSetSyscallUserDispatch = 59;
constexpr int kPrSysDispatchOn = 1;

/// sigaltstack(2) refuses to change a stack that RSP lies in; so RSP is elsewhere for the moment of the call.
long set_alternate_stack(const AltStack& next, AltStack& previous, std::uint64_t elsewhere) {
  long result;
  __asm__ volatile(
      "movq %%rsp, %%rbx\n\t"
      "movq %[elsewhere], %%rsp\n\t"
      "call *%[gate]\n\t"
      "movq %%rbx, %%rsp"
      : "=a"(result)
      : "a"(__NR_sigaltstack), "D"(&next),
        "S"(&previous), [elsewhere] "r"(elsewhere), [gate] "m"(enclume_system_call)
      : "rbx", "rcx", "r11", "memory");
  return result;
}

}  // namespace

Engine& engine() {
  return the_engine;
}

namespace {

/// The parent may have shared its memory with another process (CLONE_VM) and kept what was its own alone in
/// the block; the child has a table to itself.
void forget_shared_memory(ThreadBlock& block) {
  const SignalSet own = block.child_default | block.child_ignored;
  for (int signo = 1; signo <= 64; ++signo) {
    if ((own & signal_bit(signo)) != 0) {
      const Action action{(block.child_ignored & signal_bit(signo)) != 0 ? 1ULL : 0ULL, 0, 0, 0};
      (void)the_engine.actions.change(signo, &action, nullptr);
    }
    if ((block.child_handled & signal_bit(signo)) != 0) {
      const Action action = action_of(block, signo);
      (void)the_engine.actions.change(signo, &action, nullptr);
    }
  }
  block.child_default = 0;
  block.child_ignored = 0;
  block.child_handled = 0;
  block.process = 0;
  block.vfork_child = 0;
}

}  // namespace

AltStack Engine::signal_stack(const ThreadBlock& block) const {
  const std::uint64_t slot = reinterpret_cast<std::uint64_t>(&block) - SLOT_BLOCK;
  return {slot + SLOT_STACK_LOW, 0, 0, SLOT_BLOCK - SLOT_STACK_LOW};
}

void Engine::arm_user_dispatch(ThreadBlock& block) {
  if (!features.user_dispatch) {
    return;
  }
  // The kernel compares the address behind the SYSCALL with [offset, offset + length).
  block.selector.store(enclume_host_selector, std::memory_order_relaxed);
  block.sud_armed = sys::call(__NR_prctl, kPrSetSyscallUserDispatch, kPrSysDispatchOn, exempt.begin.value(),
                              exempt.size(), &block.selector)
                        .has_value();
  if (!block.sud_armed && enclume_fast_on > FAST_BY_LIBC) {
    turn_off_direct_paths(Slow::NoDescriptor);  // its clones would not be seen (fast/thread_descriptor.h)
  }
}

bool Engine::sees_raw_calls() {
  return enclume_host_selector == SELECTOR_BLOCK;
}

bool Engine::sees_some_raw_calls() {
  return sees_raw_calls() || host_patcher().traps_calls();
}

bool Engine::watch_raw_calls() {
  if (!features.user_dispatch) {
    return false;
  }
  ThreadBlock* block = this_thread();
  if (!sees_raw_calls()) {
    enclume_host_selector = SELECTOR_BLOCK;  // also for register_thread()
    if (block != nullptr) {
      arm_user_dispatch(*block);
    }
  }
  if (block == nullptr) {
    block = register_thread();
  }
  const bool watched = block != nullptr && block->sud_armed;
  if (enclume_fast_on != FAST_OFF && enclume_fast_on != FAST_BY_DESCRIPTOR) {
    // Whatever libc is in this process, the program does not use it.
    if (watched && has_thread_descriptors(block)) {
      enclume_fast_on = FAST_BY_DESCRIPTOR;
    } else {
      turn_off_direct_paths(Slow::NoDescriptor);
    }
  }
  return watched;
}

ThreadBlock* Engine::this_thread() const {
  AltStack now;
  sys::raw(__NR_sigaltstack, 0, sys::arg(&now));
  return arena.of_stack(now.sp);
}

ThreadBlock* Engine::register_thread() {
  // The owned ones, too: their handler would make the thread known, and wait for the arena's lock.
  const AllBlocked blocked;
  ThreadBlock* block = this_thread();
  if (block != nullptr) {
    return block;
  }
  // Who sees all system calls sees forks before they happen.
  if (forks_unseen_ && !expect_fork()) {
    return nullptr;
  }
  block = arena.acquire(sys::gettid());
  if (block == nullptr) {
    return nullptr;
  }
  if (const int process = sys::getpid(); process != pid_) {
    block->process = process;
  }
  AltStack previous;
  const AltStack ours = signal_stack(*block);
  // Behind the block nothing else uses the slot while signals are blocked and RSP is not in it.
  if (set_alternate_stack(ours, previous, ours.sp + ours.size - 64) == 0) {
    previous.flags &= ~SS_ONSTACK;
    block->program_stack = previous;
  }
  drop_inherited_descriptor();
  if (sees_raw_calls()) {
    arm_user_dispatch(*block);
  }
  return block;
}

ThreadBlock* Engine::register_thread(UContext& uc) {
  ThreadBlock* block = register_thread();
  if (block != nullptr) {
    // As it was before the kernel put the handler on it (with SS_AUTODISARM there is none now).
    block->program_stack = uc.stack;
    block->program_stack.flags &= ~SS_ONSTACK;
    uc.stack = signal_stack(*block);
  }
  return block;
}

ThreadBlock* Engine::current_thread() {
  ThreadBlock* block = this_thread();
  return block != nullptr ? block : register_thread();
}

ThreadBlock* Engine::reserve_thread(const ThreadBlock& parent) {
  const AllBlocked blocked;
  ThreadBlock* block = arena.reserve(parent.tid);
  if (block != nullptr) {
    block->virtual_mask.store(parent.virtual_mask.load());
  }
  return block;
}

void Engine::adopt_thread(ThreadBlock& block, bool is_thread) {
  const AllBlocked blocked;
  arena.adopt(block, sys::gettid());
  block.process = is_thread ? 0 : sys::getpid();
  block.sud_armed = false;
  drop_inherited_descriptor();
  if (sees_raw_calls()) {
    arm_user_dispatch(block);
  }
}

void Engine::watch_enclave_calls(ThreadBlock& block) {
  // A child of vfork has its parent's block, and a dispatch of its own in the kernel.
  if (!block.sud_armed && features.user_dispatch && !in_vfork_child()) {
    arm_user_dispatch(block);
  }
}

bool Engine::adopt_kernel_mask() {
  const SignalSet found = kernel_mask() & kOwnedSet;
  if (found == 0) {
    return true;
  }
  ThreadBlock* block = current_thread();
  if (block == nullptr) {
    return false;
  }
  block->virtual_mask.fetch_or(pack_owned(found));
  sys::raw(__NR_rt_sigprocmask, SIG_UNBLOCK, sys::arg(&found), 0, sizeof(found));
  return true;
}

int Engine::handler_thread_id() const {
  // A child between vfork and exec has a handler of its own, too, on the same stack.
  ThreadBlock* const block = arena.of_stack(reinterpret_cast<std::uint64_t>(__builtin_frame_address(0)));
  if (block == nullptr) {
    return sys::gettid();
  }
  if (block->handler_tid == 0) {
    block->handler_tid = sys::gettid();
  }
  return block->handler_tid;
}

bool Engine::in_vfork_child() const {
  return sys::getpid() != pid_;
}

void Engine::start_process(bool forks_unseen) {
  forks_unseen_ = forks_unseen;
  pid_ = sys::getpid();
}

bool Engine::expect_fork() {
  if (enclume_process_known.load(std::memory_order_acquire) != nullptr) {
    return true;
  }
  const auto r =
      sys::call(__NR_mmap, 0, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!r) {
    return false;
  }
  auto* const state = reinterpret_cast<std::atomic<std::uint32_t>*>(*r);
  state->store(sys::getpid() == pid_ ? kProcessKnown : kProcessNew);
  std::atomic<std::uint32_t>* none = nullptr;
  const bool wiped = sys::call(__NR_madvise, *r, kPageSize, MADV_WIPEONFORK).has_value();
  if (!wiped || !enclume_process_known.compare_exchange_strong(none, state)) {
    sys::raw(__NR_munmap, *r, kPageSize);
  }
  return wiped;
}

SysResult<void> Engine::before_fork() {
  const AllBlocked blocked;
  sync_after_fork();
  return expect_fork() ? share_machine_place() : fail(Errno::NoMemory);
}

/// Of a process that has no such page yet. One without libc has all its forks seen.
bool Engine::may_be_unseen_child() const {
  return active && forks_unseen_ && in_vfork_child();
}

void Engine::after_fork() {
  if (!expect_fork()) {
    return;
  }
  std::atomic<std::uint32_t>& state = *enclume_process_known.load(std::memory_order_acquire);
  const int tid = sys::gettid();
  std::uint32_t seen = state.load(std::memory_order_acquire);
  if (seen == kLeaderMissing && tid != pid_) {
    return;
  }
  // Owned signals, too: their handler would come here again and wait for itself.
  const AllBlocked blocked;
  for (;;) {
    if (seen == kProcessKnown) {
      return;
    }
    if (seen == kProcessBusy) {
      sys::raw(__NR_sched_yield);
      seen = state.load(std::memory_order_acquire);
    } else if (state.compare_exchange_weak(seen, kProcessBusy, std::memory_order_acquire)) {
      break;
    }
  }
  if (seen == kProcessNew) {
    pid_ = sys::getpid();
    arena.orphan_all();
    actions.reset_in_child();
    host_patcher().reset_in_child();
    forget_held_after_fork();
    symbols_after_fork();
    shared_machine_after_fork();
    stats.after_fork();
    if (sgx != nullptr) {
      sgx->after_fork();
    }
  }
  // The thread that forked is the new process's leader, and still has its slot: the alternate stack shows
  // which.
  const bool leader = tid == pid_;
  if (leader) {
    ThreadBlock* block = this_thread();
    arena.claim(block, tid);
    if (block != nullptr) {
      block->held_bits = 0;  // pending signals are not inherited
      block->held_for_front_door = false;
      forget_shared_memory(*block);
      block->fast.forked = true;
      block->fast.counts = stats.direct(block->slot);
      if (block->sud_armed) {
        arm_user_dispatch(*block);  // the kernel disarms it in the child
      }
    }
  }
  state.store(leader ? kProcessKnown : kLeaderMissing, std::memory_order_release);
  if (seen == kProcessNew && events.on()) {
    events.emit(trace::Fork{static_cast<int>(sys::raw(__NR_getppid))});
  }
}

}  // namespace enclume::engine
