// SPDX-License-Identifier: Apache-2.0
#include "engine/threads/arena.h"

#include <sys/mman.h>

#include <new>

#include "base/syscall.h"
#include "engine/entry/entry.h"

extern "C" {
std::uint64_t enclume_arena_begin = 0;
std::uint64_t enclume_arena_size = 0;
}

namespace enclume::engine {

namespace {

constexpr std::uint32_t kMinSlots = 16;
constexpr std::uint32_t kNoSlot = ~0U;
constexpr int kNobody = -1;  ///< ThreadBlock::tid of a slot that is reserved

/// Memory that is there when it is touched: a few pages of 16 MiB.
constinit ThreadArena::TidTable slots_of_tids{};

}  // namespace

bool ThreadArena::reserve_range() {
  if (capacity_ != 0) {
    return true;
  }
  // A small RLIMIT_AS gets a small arena.
  for (std::uint32_t slots = kMaxSlots; slots >= kMinSlots; slots /= 2) {
    const auto base = sys::call(__NR_mmap, 0, (std::uint64_t{slots} + 1) * SLOT_SIZE, PROT_NONE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base) {
      capacity_ = slots;
      // Others look whether their stack is in it: it is in none as long as one of the two is 0.
      std::atomic_ref(enclume_arena_begin)
          .store(align_up(static_cast<std::uint64_t>(*base), SLOT_SIZE), std::memory_order_release);
      std::atomic_ref(enclume_arena_size).store(std::uint64_t{slots} * SLOT_SIZE, std::memory_order_release);
      return true;
    }
  }
  return false;
}

ThreadBlock* ThreadArena::block_at(std::uint32_t slot) const {
  return reinterpret_cast<ThreadBlock*>(enclume_arena_begin + std::uint64_t{slot} * SLOT_SIZE + SLOT_BLOCK);
}

ThreadArena::TidEntry* ThreadArena::entry(int tid) const {
  return tid > 0 && tid < kMaxTid ? &slots_of_tids[static_cast<std::size_t>(tid)] : nullptr;
}

ThreadArena::Places ThreadArena::places() const {
  return {&enclume_arena_begin, &enclume_arena_size, slots_of_tids.data()};
}

ThreadBlock* ThreadArena::of_stack(std::uint64_t rsp) const {
  const std::uint64_t size = std::atomic_ref(enclume_arena_size).load(std::memory_order_acquire);
  if (rsp - std::atomic_ref(enclume_arena_begin).load(std::memory_order_relaxed) >= size) {
    return nullptr;
  }
  return reinterpret_cast<ThreadBlock*>((rsp & ~std::uint64_t{SLOT_SIZE - 1}) + SLOT_BLOCK);
}

ThreadBlock* ThreadArena::find(int tid) const {
  TidEntry* e = entry(tid);
  const std::uint32_t slot = e != nullptr ? e->slot.load(std::memory_order_acquire) : 0;
  if (slot == 0) {
    return nullptr;
  }
  ThreadBlock* block = block_at(slot - 1);
  return block->tid == tid ? block : nullptr;
}

bool ThreadArena::make_usable(std::uint32_t slot) {
  const std::uint64_t begin = enclume_arena_begin + std::uint64_t{slot} * SLOT_SIZE;
  return sys::call(__NR_mprotect, begin + SLOT_STACK_LOW, SLOT_SIZE - SLOT_STACK_LOW, PROT_READ | PROT_WRITE)
      .has_value();
}

void ThreadArena::put_back(ThreadBlock& block) {
  std::uint32_t own = block.slot + 1;
  if (TidEntry* e = entry(block.tid); e != nullptr) {
    e->slot.compare_exchange_strong(own, 0);
  }
  block.tid = 0;
  block.slot_link = free_;
  free_ = block.slot + 1;
  --in_use_;
}

void ThreadArena::reclaim_dead() {
  const int pid = sys::getpid();
  for (std::uint32_t slot = 0; slot < fresh_; ++slot) {
    ThreadBlock* block = block_at(slot);
    const int process = block->process != 0 ? block->process : pid;
    if (block->tid > 0 && !block->orphan && sys::raw(__NR_tgkill, process, block->tid, 0) == -ESRCH) {
      put_back(*block);
    }
  }
  reclaim_at_ = in_use_ * 2 > 64 ? in_use_ * 2 : 64;
}

/// A slot that nobody has; kNoSlot if there is none.
std::uint32_t ThreadArena::take_slot() {
  if (!reserve_range()) {
    return kNoSlot;
  }
  if (free_ == 0 && (in_use_ >= reclaim_at_ || fresh_ == capacity_)) {
    reclaim_dead();
  }
  if (free_ != 0) {
    const std::uint32_t slot = free_ - 1;
    free_ = block_at(slot)->slot_link;
    return slot;
  }
  return fresh_ < capacity_ && make_usable(fresh_) ? fresh_.load() : kNoSlot;
}

ThreadBlock* ThreadArena::make_block(std::uint32_t slot, int tid) {
  ThreadBlock* block = new (block_at(slot)) ThreadBlock{};
  block->self = block;
  block->tid = tid;
  block->slot = slot;
  block->lp.id = static_cast<std::uint32_t>(tid);
  ++in_use_;
  if (slot == fresh_) {
    fresh_.store(slot + 1, std::memory_order_release);
  }
  return block;
}

ThreadBlock* ThreadArena::acquire(int tid) {
  TidEntry* e = entry(tid);
  if (e == nullptr) {
    return nullptr;
  }
  const OwnerLockGuard guard(lock_, tid);
  // A dead thread's id may have come back to us, slot and all.
  // A write at once: one page fault, not two. (FETCH_OR would be a loop that reads first.)
  std::uint32_t slot = e->slot.fetch_add(0, std::memory_order_relaxed);
  if (slot != 0) {
    --slot;
    --in_use_;
  } else if (slot = take_slot(); slot == kNoSlot) {
    return nullptr;
  }
  ThreadBlock* block = make_block(slot, tid);
  e->slot.store(slot + 1, std::memory_order_release);
  return block;
}

ThreadBlock* ThreadArena::reserve(int tid) {
  const OwnerLockGuard guard(lock_, tid);
  const std::uint32_t slot = take_slot();
  return slot != kNoSlot ? make_block(slot, kNobody) : nullptr;
}

void ThreadArena::adopt(ThreadBlock& block, int tid) {
  TidEntry* e = entry(tid);
  const OwnerLockGuard guard(lock_, tid);
  if (const std::uint32_t old = e->slot.load(std::memory_order_relaxed); old != 0) {
    put_back(*block_at(old - 1));  // a dead thread's, whose id this one has
  }
  block.tid = tid;
  block.lp.id = static_cast<std::uint32_t>(tid);
  e->slot.store(block.slot + 1, std::memory_order_release);
}

void ThreadArena::give_back(ThreadBlock& block, int expected, int tid) {
  const OwnerLockGuard guard(lock_, tid);
  if (block.tid == (expected < 0 ? kNobody : expected)) {
    put_back(block);
  }
}

void ThreadArena::orphan_all() {
  lock_.reset_in_child();
  for (std::uint32_t slot = 0; slot < fresh_; ++slot) {
    if (ThreadBlock* block = block_at(slot); block->tid != 0) {
      if (TidEntry* e = entry(block->tid); e != nullptr) {
        e->slot.store(0, std::memory_order_relaxed);
      }
      block->orphan = true;
    }
  }
}

void ThreadArena::claim(ThreadBlock* block, int tid) {
  const OwnerLockGuard guard(lock_, tid);
  for (std::uint32_t slot = 0; slot < fresh_; ++slot) {
    ThreadBlock* other = block_at(slot);
    if (other->tid != 0 && other->orphan && other != block) {
      put_back(*other);
    }
  }
  if (block != nullptr) {
    block->orphan = false;
    block->tid = tid;
    block->lp.id = static_cast<std::uint32_t>(tid);
    entry(tid)->slot.store(block->slot + 1, std::memory_order_release);
  }
}

}  // namespace enclume::engine
