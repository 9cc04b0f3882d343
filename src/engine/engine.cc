// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <sys/mman.h>

#include "base/syscall.h"
#include "engine/entry/entry.h"
#include "engine/sgx.h"
#include "engine/signals/mask.h"
#include "engine/start/host_cpuid.h"

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
      "syscall\n\t"
      "movq %%rbx, %%rsp"
      : "=a"(result)
      : "a"(__NR_sigaltstack), "D"(&next), "S"(&previous), [elsewhere] "r"(elsewhere)
      : "rbx", "rcx", "r11", "memory");
  return result;
}

}  // namespace

Engine& engine() {
  return the_engine;
}

AltStack Engine::signal_stack(const ThreadBlock& block) const {
  const std::uint64_t slot = reinterpret_cast<std::uint64_t>(&block) - SLOT_BLOCK;
  return {slot + SLOT_STACK_LOW, 0, 0, SLOT_BLOCK - SLOT_STACK_LOW};
}

void Engine::arm_user_dispatch(ThreadBlock& block) {
  if (!features.user_dispatch) {
    return;
  }
  // The kernel compares the address behind the SYSCALL with [offset, offset + length).
  const auto begin = reinterpret_cast<std::uint64_t>(enclume_exempt_begin);
  const auto end = reinterpret_cast<std::uint64_t>(enclume_exempt_end);
  block.sud_armed = sys::call(__NR_prctl, kPrSetSyscallUserDispatch, kPrSysDispatchOn, begin, end - begin + 1,
                              &block.selector)
                        .has_value();
}

ThreadBlock* Engine::register_thread() {
  const SignalsBlocked blocked;
  const int tid = sys::gettid();
  ThreadBlock* block = arena.find(tid);
  const bool fresh = block == nullptr;
  if (fresh) {
    block = arena.acquire(tid);
    if (block == nullptr) {
      return nullptr;
    }
  }
  AltStack previous;
  const AltStack ours = signal_stack(*block);
  // Behind the block nothing else uses the slot while signals are blocked and RSP is not in it.
  const long r = set_alternate_stack(ours, previous, ours.sp + ours.size - 64);
  if (r == 0 && previous.sp != ours.sp) {
    previous.flags &= ~SS_ONSTACK;
    block->program_stack = previous;
  }
  if (fresh) {
    arm_user_dispatch(*block);
  }
  return block;
}

ThreadBlock* Engine::current_thread() {
  ThreadBlock* block = arena.find(sys::gettid());
  return block != nullptr ? block : register_thread();
}

bool Engine::init_fork_detection() {
  const auto r =
      sys::call(__NR_mmap, 0, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!r || !sys::call(__NR_madvise, *r, kPageSize, MADV_WIPEONFORK)) {
    return false;
  }
  same_process_ = reinterpret_cast<volatile std::uint32_t*>(*r);
  *same_process_ = 1;
  return true;
}

void Engine::sync_after_fork() {
  if (same_process_ != nullptr && *same_process_ == 0) [[unlikely]] {
    after_fork();
  }
}

void Engine::after_fork() {
  const SignalsBlocked blocked;
  if (*same_process_ != 0) {
    return;
  }
  // Only this thread is left. Which slot was its own shows by the alternate stack that fork copied.
  AltStack now;
  sys::raw(__NR_sigaltstack, 0, sys::arg(&now));
  ThreadBlock* block = arena.of_stack(now.sp);
  const int tid = sys::gettid();
  arena.after_fork(block, tid);
  actions.reset_in_child();
  host_cpuid().reset_in_child();
  if (block != nullptr) {
    block->lp.id = static_cast<std::uint32_t>(tid);
    arm_user_dispatch(*block);  // the kernel disarms it in the child
  }
  if (sgx != nullptr) {
    sgx->after_fork();
  }
  *same_process_ = 1;
  if (events.on()) {
    events.emit(trace::Fork{static_cast<int>(sys::raw(__NR_getppid))});
  }
}

}  // namespace enclume::engine
