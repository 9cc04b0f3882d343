// SPDX-License-Identifier: Apache-2.0
#include "engine/raw/clone.h"

#include <asm/unistd.h>
#include <sched.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "arch/cpu_state.h"
#include "base/syscall.h"
#include "engine/calls/tracer.h"
#include "engine/calls/user_memory.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/signals/held.h"
#include "engine/signals/mask.h"

extern "C" {
constinit std::array<enclume::engine::CloneRecord, CLONE_RECORDS> enclume_clone_records{};
}

namespace enclume::engine {

namespace {

constexpr std::uint64_t kStubSize = 16;
constexpr int kSysSeccomp = 1;                        // SYS_SECCOMP, of SIGSYS
constexpr std::uint64_t kClearSighand = 0x100000000;  // CLONE_CLEAR_SIGHAND

std::uint64_t address_of(const char* label) {
  return reinterpret_cast<std::uint64_t>(label);
}

CloneRecord* take_record() {
  for (CloneRecord& record : enclume_clone_records) {
    std::uint32_t free = 0;
    if (record.users.load(std::memory_order_relaxed) == 0 &&
        record.users.compare_exchange_strong(free, 1, std::memory_order_acquire)) {
      return &record;
    }
  }
  return nullptr;
}

void drop_record(CloneRecord& record) {
  record.users.fetch_sub(1, std::memory_order_release);
}

/// The arguments of clone3 as the kernel takes them (copy_clone_args_from_user()): short ones are made longer
/// by zeros, and long ones may be if the rest is zero.
SysResult<void> read_arguments(clone_args& arguments, const Call& call) {
  const std::uint64_t from = call.argument[0];
  const std::uint64_t size = call.argument[1];
  if (size > kPageSize) {
    return fail(Errno::TooBig);
  }
  if (size < CLONE_ARGS_SIZE_VER0) {
    return fail(Errno::Invalid);
  }
  arguments = clone_args{};
  const std::size_t known = size < sizeof(arguments) ? size : sizeof(arguments);
  if (enclume_guarded_copy(&arguments, reinterpret_cast<const void*>(from), known) != 0) {
    return fail(Errno::Fault);
  }
  for (std::uint64_t at = known; at < size; ++at) {
    char byte;
    if (!read_user(byte, from + at)) {
      return fail(Errno::Fault);
    }
    if (byte != 0) {
      return fail(Errno::TooBig);
    }
  }
  return {};
}

/// Linux kernel_clone() and its callers: what flags a call amounts to.
std::uint64_t flags_of(const Call& call, const CloneRecord& record) {
  switch (call.number) {
    case __NR_clone:
      return call.argument[0];
    case __NR_clone3:
      return record.arguments.flags;
    case __NR_vfork:
      return CLONE_VM | CLONE_VFORK;
    default:
      return 0;
  }
}

/// All handlers back to the default, as CLONE_CLEAR_SIGHAND has it.
void clear_handlers(const CloneRecord& record) {
  ActionTable& actions = engine().actions;
  if (record.child == nullptr) {
    actions.clear_handlers();
    return;
  }
  for (int signo = 1; signo <= 64; ++signo) {
    if (actions.get(signo).is_handler() && !is_owned(signo)) {
      set_kernel_default(signo);  // the table is the parent's, too
    }
  }
}

/// The registers as SYSCALL and SYSRET leave them; the result is the caller's to set.
void return_to_program(Interruption& it, const CloneRecord& record) {
  SigContext& m = it.uc.mcontext;
  m.rip = record.rip;
  m.rcx = record.rip;
  m.r11 = record.rflags;
  m.rdi = record.program_rdi;
  m.rsi = record.program_rsi;
  it.uc.sigmask = record.mask;
  if (anything_to_release(it.block)) {
    const AllBlocked blocked;
    release_held(it.block);
  }
}

/// `result` is that of the call, negative if there is no child.
void finish_parent(Interruption& it, CloneRecord& record, long result) {
  it.block.selector.store(enclume_host_selector, std::memory_order_relaxed);
  it.block.clone = nullptr;
  return_to_program(it, record);
  // A child of vfork has ended, or is another program: it does not need its slot any more. One that was not
  // made never did.
  if (record.child != nullptr && (record.vfork || result < 0)) {
    const AllBlocked blocked;
    engine().arena.give_back(*record.child, static_cast<int>(result), it.block.tid);
  }
  if (record.child != nullptr && result < 0) {
    drop_record(record);
  }
  drop_record(record);
}

void finish_child(Interruption& it, CloneRecord& record) {
  Engine& e = engine();
  it.block.clone = nullptr;
  return_to_program(it, record);
  it.uc.mcontext.rax = 0;
  if (record.child != nullptr) {
    e.adopt_thread(it.block, record.is_thread);
    it.block.parent_waits = record.vfork && !record.is_thread;
    it.block.traced_from_exec_on = false;
  } else {
    // Whoever else was on the way has not come along.
    tracer_after_fork();
    it.block.selector.store(enclume_host_selector, std::memory_order_relaxed);
    for (CloneRecord& other : enclume_clone_records) {
      other.users.store(&other == &record ? 1 : 0, std::memory_order_relaxed);
    }
  }
  if (record.clears_handlers) {
    clear_handlers(record);
  }
  drop_record(record);
}

}  // namespace

SysResult<void> start_clone(Interruption& it, const Call& call) {
  SigContext& m = it.uc.mcontext;
  CloneRecord* record = take_record();
  if (record == nullptr) {
    return fail(Errno::Again);
  }
  if (call.number == __NR_clone3) {
    if (const auto read = read_arguments(record->arguments, call); !read) {
      drop_record(*record);
      return read;
    }
  }
  const std::uint64_t flags = flags_of(call, *record);
  const bool clears =
      call.number == __NR_clone3 && (flags & kClearSighand) != 0 && (flags & CLONE_SIGHAND) == 0;
  record->rip = m.rip;
  record->rflags = m.flags & ~arch::rflags::kRf;
  record->program_rdi = m.rdi;
  record->program_rsi = m.rsi;
  record->mask = it.uc.sigmask;
  record->child = nullptr;
  record->stack = AltStack{};
  record->vfork = (flags & CLONE_VFORK) != 0;
  record->clears_handlers = clears;
  record->is_thread = (flags & CLONE_THREAD) != 0;
  if ((flags & CLONE_VM) != 0) {
    ThreadBlock* child = engine().reserve_thread(it.block);
    if (child == nullptr) {
      drop_record(*record);
      return fail(Errno::Again);
    }
    if (record->vfork) {
      child->program_stack = it.block.program_stack;  // Linux copy_process(): else there is none
    }
    child->clone = record;
    record->child = child;
    record->stack = engine().signal_stack(*child);
    record->users.store(2, std::memory_order_relaxed);
  } else if (const auto r = engine().before_fork(); !r) {
    drop_record(*record);
    return r;
  }
  if (call.number == __NR_clone3) {
    if (clears) {
      record->arguments.flags &= ~kClearSighand;
    }
    m.rdi = reinterpret_cast<std::uint64_t>(&record->arguments);
    m.rsi = std::min<std::uint64_t>(call.argument[1], sizeof(record->arguments));
  }
  it.block.clone = record;
  it.uc.sigmask |= kBlockable;
  it.block.selector.store(SELECTOR_ALLOW, std::memory_order_relaxed);
  m.rip = address_of(enclume_clone_stubs) +
          static_cast<std::uint64_t>(record - enclume_clone_records.data()) * kStubSize;
  return {};
}

namespace {

bool is_on_the_way(const SigContext& m) {
  return m.rip >= address_of(enclume_clone_stubs) && m.rip < address_of(enclume_clone_stubs_end);
}

/// The record of a child that has not got its alternate stack yet. No register but these tells of it.
CloneRecord* record_of_new_clone(const SigContext& m) {
  const auto record_at = [](std::uint64_t address) { return reinterpret_cast<CloneRecord*>(address); };
  if (!is_on_the_way(m) || m.rip >= address_of(enclume_clone_placed)) {
    return nullptr;
  }
  if (const std::uint64_t stub = m.rip - address_of(enclume_clone_stubs);
      stub < enclume_clone_records.size() * kStubSize) {
    // At the SYSCALL itself it is the parent, whose RAX is the number.
    return stub % kStubSize != 0 && m.rax == 0 ? &enclume_clone_records[stub / kStubSize] : nullptr;
  }
  if (m.rip == address_of(enclume_clone_returned)) {
    return m.rax == 0 ? record_at(m.rcx) : nullptr;
  }
  if (m.rip == address_of(enclume_clone_exchanged)) {
    return m.rcx == 0 ? record_at(m.rax) : nullptr;
  }
  if (m.rip == address_of(enclume_clone_parent)) {
    return nullptr;
  }
  return record_at(m.rip == address_of(enclume_clone_numbered) ? m.rdi - CLONE_STACK : m.rax);
}

}  // namespace

bool wait_in_new_clone(int signo, const siginfo_t& info, const SigContext& m) {
  // Of several signals at once the kernel stacks the frames: each but the first meets the one before at its
  // handler's first instruction.
  const SigContext* first = &m;
  while (first->rip == reinterpret_cast<std::uint64_t>(&enclume_signal_entry)) {
    first = &reinterpret_cast<const UContext*>(first->rdx)->mcontext;
  }
  CloneRecord* const record = record_of_new_clone(*first);
  if (record == nullptr || record->child == nullptr) {
    return false;
  }
  if (info.si_code <= 0 && !is_kick(signo, info)) {  // else it is a step that nobody can see the place of
    const AllBlocked blocked;
    if (record->is_thread) {
      hold(*record->child, info);
    } else {
      hold_in_new_process(*record->child, info);
    }
  }
  return true;
}

CloneEnd finish_clone(int signo, Interruption& it) {
  SigContext& m = it.uc.mcontext;
  if (!is_on_the_way(m)) {
    return CloneEnd::NotThere;
  }
  if (wait_in_new_clone(signo, it.info, m)) {
    return CloneEnd::Settled;
  }
  CloneRecord* record = it.block.clone;
  if (signo == SIGSYS && it.info.si_code == kSysSeccomp && record != nullptr) {
    finish_parent(it, *record, negative(Errno::NoSys));  // RAX is the number, as the kernel has left it
    return CloneEnd::Filtered;
  }
  if (signo == SIGILL && it.info.si_code > 0 && record != nullptr) {
    if (m.rip == address_of(enclume_clone_parent)) {
      const auto result = static_cast<long>(m.rcx);
      finish_parent(it, *record, result);
      m.rax = static_cast<std::uint64_t>(result);
      return CloneEnd::Settled;
    }
    if (m.rip == address_of(enclume_clone_child)) {
      finish_child(it, *record);
      return CloneEnd::Settled;
    }
  }
  // All else that comes here was sent, or is a step that nobody can see the place of.
  if (it.info.si_code <= 0 && !is_kick(signo, it.info)) {
    hold(it.block, it.info);
  }
  return CloneEnd::Settled;
}

}  // namespace enclume::engine
